"""The command ``memnet-restore``: its options, and what leads to an exit code.

Only the standard library is imported here, so that ``--help`` and mistakes in the options answer at once.
"""
import argparse
import sys

DESCRIPTION = """Restore pictures: files, folders (with subfolders) or patterns in, a folder out.

Names, subfolders, depth (8 or 16 bit), alpha and orientation are kept. Files that are there are not overwritten."""
EXAMPLES = """examples:
  memnet-restore -i noisy.png -o clean.png --weights memnet_denoise
  memnet-restore -i photos/ -o restored/ --weights memnet_jpeg --compare
  memnet-restore -i small/ -o large/ --weights memnet_sr --scale 3 --gt original/

exit code: 0 all done, 1 something could not be done (each told in a line), 2 wrong options"""


def parse_args(argv=None):
    """Read the command line.

    Args:
        argv (list[str] | None): Arguments; None takes those of the process. Default: None.

    Returns:
        argparse.Namespace: Options.
    """
    parser = argparse.ArgumentParser(
        'memnet-restore',
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-i', '--input', nargs='+', required=True, metavar='PATH', help='files, folders or patterns')
    parser.add_argument('-o', '--output', required=True, metavar='PATH', help='folder (or, for one file, a file)')
    parser.add_argument(
        '-w', '--weights', required=True, help='packaged name, .pth or .safetensors file, or http(s) address')
    parser.add_argument('--scale', type=float, help='factor of super-resolution')
    parser.add_argument('--gt', metavar='PATH', help='clean pictures (folder or file): print PSNR and SSIM')
    parser.add_argument(
        '--compare', action='store_true', help='also write <name>_compare.png: input | restored (| clean)')
    parser.add_argument('--ensemble', action='store_true', help='average over flips and rotations: 8 times the time')
    parser.add_argument(
        '--tile', type=int, default=512, help='side of the tiles of large pictures, 0 for none. Default: %(default)s')
    parser.add_argument('--precision', choices=('fp32', 'bf16', 'fp16'), default='fp32', help='Default: %(default)s')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... Default: the GPU where there is one')
    parser.add_argument('--overwrite', action='store_true', help='replace files that are there')
    args = parser.parse_args(argv)
    if args.tile < 0:
        parser.error(f'argument --tile: {args.tile} is negative')
    return args


def main(argv=None):
    """Run the command.

    Args:
        argv (list[str] | None): Arguments; None takes those of the process. Default: None.

    Returns:
        int: Exit code.
    """
    args = parse_args(argv)
    # an absolute name: this file may have been loaded by its path, without the package around it
    from memnet_basicsr.errors import UsageError
    from memnet_basicsr.inference.batch import restore_files
    try:
        return 1 if restore_files(**vars(args)) else 0
    except UsageError as error:
        sys.stderr.write(f'memnet-restore: {error}\n')
        return 1
    except KeyboardInterrupt:
        sys.stderr.write('memnet-restore: stopped; what is written is whole, the same command goes on from there\n')
        return 130


if __name__ == '__main__':
    sys.exit(main())
