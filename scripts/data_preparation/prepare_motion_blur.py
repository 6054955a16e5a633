"""Make pairs with synthetic motion blur from sharp images: <root>/<set>/<split>_{lq,gt}.lmdb.

    memnet prepare motion_blur --input BSDS500/train --set BSDBlur --split train
    memnet prepare motion_blur --input BSDS500/test --set BSDBlur --split test \
        --first 20 --crop 256

Prints the number of images and writes two LMDBs to datasets/BSDBlur. The camera moves along a straight line. Length and
angle are drawn for each image from its name and --seed, so the same images always give the same pairs; the kernel is
in memnet_basicsr/data/motion_blur_util.py. The blurred image is rounded to 8 bits, and no noise is added. Safe to run
twice: LMDBs made from the same images and settings are kept.
"""
import argparse
import itertools
from os import path as osp

from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.data.image_source import read_image
from memnet_basicsr.data.lmdb_preparation import folder_images
from memnet_basicsr.data.lmdb_util import outcome, signature_of, write_lmdb
from memnet_basicsr.data.motion_blur_util import blur, draw_motion, motion_kernel
from memnet_basicsr.errors import UsageError


def pairs(files, kind, args):
    """Keys and images of one kind, 'gt' or 'lq'; an image is blurred whole and cropped afterwards."""
    for key, path in files.items():
        img = read_image(path)
        if kind == 'lq':
            img = blur(img, motion_kernel(*draw_motion(key, args.seed, args.min_length, args.max_length)))
        if args.crop:
            top, left = (max(0, v - args.crop) // 2 for v in img.shape[:2])
            img = img[top:top + args.crop, left:left + args.crop]
        yield key, img


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--input', nargs='+', required=True, help='folders of sharp images (subfolders do not count)')
    parser.add_argument('--set', required=True, help='name of the dataset, e.g. BSDBlur')
    parser.add_argument('--split', required=True, help='name of the split, e.g. train')
    parser.add_argument('--root', default='datasets', help='folder of all datasets. Default: datasets')
    parser.add_argument('--min-length', type=float, default=5, help='minimum blur length in pixels. Default: 5')
    parser.add_argument('--max-length', type=float, default=15, help='maximum blur length in pixels. Default: 15')
    parser.add_argument('--seed', type=int, default=0, help='seed of lengths and angles. Default: 0')
    parser.add_argument('--first', type=int, metavar='N', help='use only the first N images, sorted by name')
    parser.add_argument('--crop', type=int, metavar='N', help='center-crop images to NxN pixels')
    parser.add_argument('--overwrite', action='store_true', help='replace LMDBs made from other images or settings')
    args = parser.parse_args(args)
    if not 0 <= args.min_length <= args.max_length or args.seed < 0:
        raise UsageError(f'lengths from {args.min_length} to {args.max_length} and seed {args.seed} must be 0 or more, '
                         'and --min-length not above --max-length')
    for name in ('first', 'crop'):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            raise UsageError(f'--{name} {getattr(args, name)}: must be 1 or more')

    files = dict(itertools.islice(folder_images(args.input).items(), args.first))
    print(f'{len(files)} images (expected: {args.first or "not given"})')
    settings = dict(keys=list(files), crop=args.crop)
    for kind in ('gt', 'lq'):
        if kind == 'lq':
            settings.update(motion=(args.seed, args.min_length, args.max_length))
        target = osp.join(args.root, args.set, f'{args.split}_{kind}.lmdb')
        signature = signature_of(files.values(), **settings)
        count = write_lmdb(target, pairs(files, kind, args), signature, len(files), overwrite=args.overwrite)
        print(outcome(target, count))


if __name__ == '__main__':
    run_command(main)
