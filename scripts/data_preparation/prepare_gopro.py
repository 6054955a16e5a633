"""Write GoPro (deblurring, Nah et al., CVPR 2017) into LMDBs: sub-images for training, whole frames for testing.

Takes the original GOPRO_Large ({train,test}/<sequence>/{blur,blur_gamma,sharp}/*.png) and the flat download
({train,test}/{input,target}/*.png):

    memnet prepare gopro --input GOPRO_Large

You see 2103 training and 1111 test pairs, 8 sub-images per training frame (16824), and these LMDBs below the current
directory: datasets/GoPro/{train,test}_{lq,gt}.lmdb. Safe to run twice. A part of the dataset:

    memnet prepare gopro --input my_frames --partial
"""
import argparse
import os
from os import path as osp

from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.data.pair_preparation import Split, add_common_arguments, find_splits, images_by_key, prepare_splits

EXPECTED = {'train': 2103, 'test': 1111}


def find_files(folder, blur):
    """Blurred and sharp frames of a split, of either layout; keys are <sequence>-<frame>."""
    if osp.isdir(osp.join(folder, 'input')):
        return {
            'lq': images_by_key(osp.join(folder, 'input')),
            'gt': images_by_key(osp.join(folder, 'target')),
        }
    files = {'lq': {}, 'gt': {}}
    for sequence in sorted(v for v in os.listdir(folder) if osp.isdir(osp.join(folder, v))):
        for kind, name in (('lq', blur), ('gt', 'sharp')):
            files[kind] |= images_by_key(osp.join(folder, sequence, name), prefix=f'{sequence}-')
    return files


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_common_arguments(parser)
    parser.add_argument(
        '--blur',
        choices=['blur', 'blur_gamma'],
        default='blur',
        help='blurred frames of GOPRO_Large: averaged linearly or with gamma. Default: blur')
    parser.add_argument('--crop-size', type=int, default=512, help='side of training sub-images. Default: 512')
    parser.add_argument('--step', type=int, default=256, help='distance between them. Default: 256')
    args = parser.parse_args(args)

    splits = []
    for name in find_splits(args.input, list(EXPECTED), args.splits):
        files = find_files(osp.join(args.input, name), args.blur)
        crop = (args.crop_size, args.step) if name == 'train' else (None, None)
        splits.append(Split(name, files, (EXPECTED[name], ), *crop))
    for line in prepare_splits(splits, osp.join(args.root, 'GoPro'), args.partial, args.overwrite):
        print(line)


if __name__ == '__main__':
    run_command(main)
