"""Write one or several folders of images into an LMDB: <root>/<set>/<split>_<kind>.lmdb.

Examples, for the default MemNet denoiser (gray, trained on BSDS500 train + test, validated on BSD68):

    memnet prepare lmdb --input BSDS500/train BSDS500/test --set BSDS500 \
        --split train+test --gray --expect 400
    memnet prepare lmdb --input BSD68 --set BSD68 --split test --gray --expect 68

They write datasets/BSDS500/train+test_gray.lmdb and datasets/BSD68/test_gray.lmdb below the current directory.
Luminance for JPEG and super-resolution (--y), color (neither), sub-images of large images:

    memnet prepare lmdb --input T91 BSDS500/train --set 291 --split train --y --expect 291
    memnet prepare lmdb --input DIV2K/HR --set DIV2K --split train --crop-size 480 --step 240

Safe to run twice: an LMDB made from the same files is kept, one made from others is replaced only with --overwrite.
"""
import argparse
from os import path as osp

from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.data.lmdb_preparation import folder_images, prepare_lmdb
from memnet_basicsr.data.lmdb_util import outcome
from memnet_basicsr.errors import UsageError


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--input', nargs='+', required=True, help='folders of images (subfolders do not count)')
    parser.add_argument('--set', required=True, help='name of the dataset, e.g. BSDS500')
    parser.add_argument('--split', required=True, help='name of the split, e.g. train')
    parser.add_argument('--root', default='datasets', help='folder of all datasets. Default: datasets')
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument(
        '--gray',
        dest='color',
        action='store_const',
        const='gray',
        default='rgb',
        help='gray, 0.2989 R + 0.5870 G + 0.1140 B')
    kind.add_argument('--y', dest='color', action='store_const', const='y', help="MATLAB's Y of YCbCr, 16..235")
    parser.add_argument('--crop-size', type=int, help='cut sub-images of this side in pixels')
    parser.add_argument('--step', type=int, help='distance between sub-images. Default: the crop size')
    parser.add_argument('--expect', type=int, help='number of images that must be found')
    parser.add_argument('--overwrite', action='store_true', help='replace an LMDB made from other images or settings')
    args = parser.parse_args(args)

    files = folder_images(args.input)
    expected = 'not given' if args.expect is None else args.expect
    print(f'{len(files)} images found in {", ".join(args.input)} (expected: {expected})')
    if args.expect is not None and len(files) != args.expect:
        raise UsageError(f'{len(files)} images instead of {args.expect}; nothing was written')
    target = osp.join(args.root, args.set, f'{args.split}_{args.color}.lmdb')
    print(outcome(target, prepare_lmdb(target, files, args.color, args.crop_size, args.step, args.overwrite)))


if __name__ == '__main__':
    run_command(main)
