"""Degrade images, restore them with the bundled weights, and draw the gallery of the README.

    python scripts/make_gallery.py --folder gallery --output gallery/gallery.png

Uses the images of scikit-image and needs the package bm3d. Prints PSNR and SSIM of each whole image; the gallery shows
the PSNR of the patch. The folder gets clean/, degraded/ and restored/. Safe to run twice.
"""
from memnet_basicsr.analysis.command import make_parser, run_command
from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.gallery import make_gallery


def main():
    parser = make_parser(__doc__)
    parser.add_argument('--folder', default='gallery', help='folder for the images. Default: %(default)s')
    parser.add_argument('--output', default='gallery/gallery.png', help='PNG file to write. Default: %(default)s')
    args = parser.parse_args()
    check_output(args.output)
    write_figure(make_gallery(args.folder), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
