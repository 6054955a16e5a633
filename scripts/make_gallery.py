"""Degrade images, restore them with the bundled weights, and draw the gallery of the README.

    python scripts/make_gallery.py --folder gallery --output gallery/gallery.png

The images come with scikit-image. Prints PSNR and SSIM for each and writes the folders clean/, noisy/ (sigma 30), jpeg/
(quality 10), small/ (a third of the size) and restored/. Safe to run twice.
"""
import argparse
import sys

from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.gallery import make_gallery
from memnet_basicsr.errors import UsageError


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--folder', default='gallery', help='folder for the images. Default: %(default)s')
    parser.add_argument('--output', default='gallery/gallery.png', help='PNG to write. Default: %(default)s')
    args = parser.parse_args()
    try:
        check_output(args.output)
        write_figure(make_gallery(args.folder), args.output)
    except (UsageError, OSError) as error:
        sys.exit(f'make_gallery: {error}')
    print(f'{args.output}: written')


if __name__ == '__main__':
    main()
