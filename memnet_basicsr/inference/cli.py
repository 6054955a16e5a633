"""Command line of ``memnet-restore``: options and exit codes.

Imports only the standard library, so that ``--help`` and wrong options answer at once.
"""
import argparse
import sys
from os import path as osp

from _memnet_basicsr_command import load

DESCRIPTION = """Restore images and videos: files, folders (with subfolders) or patterns in, a folder out.

Preserves folder structure, bit depth (8 or 16), alpha and orientation. Existing files are not overwritten."""
EPILOG = """examples:
  memnet-restore -i photos/ -o restored/ --auto
  memnet-restore -i noisy.png -o clean.png --weights memnet_denoise --strength 0.8
  memnet-restore -i photos/ -o restored/ --weights memnet_jpeg --compare
  memnet-restore -i clip.mp4 -o clean.mp4 --weights memnet_denoise_color    # videos need ffmpeg
  torchrun --nproc_per_node 4 --no-python memnet-restore -i frames/ -o restored/ --auto    # processes share the files
  memnet-restore -i small/ -o large/ --weights memnet_sr --scale 3 --gt original/

bundled networks, and the inputs that they are for:
{networks}

exit code: 0 all done, 1 some files failed (a line each), 2 wrong options"""


def parse_args(argv=None):
    """Parse the command line.

    Args:
        argv (list[str] | None): Arguments; None reads those of the process. Default: None.

    Returns:
        argparse.Namespace: Options.
    """
    parser = argparse.ArgumentParser(
        'memnet-restore',
        description=DESCRIPTION,
        epilog=EPILOG.format(networks=load('inference.bundled').overview() or '  none'),
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('-i', '--input', nargs='+', required=True, metavar='PATH', help='files, folders or patterns')
    parser.add_argument('-o', '--output', required=True, metavar='PATH', help='folder (or a file, for one input file)')
    network = parser.add_mutually_exclusive_group(required=True)
    network.add_argument(
        '-w', '--weights', help='bundled name, .pth, .safetensors or .onnx file, URL, or hub:owner/name')
    network.add_argument(
        '--auto',
        action='store_true',
        help='choose the bundled network for each image (noise, JPEG artifacts or both); copy clean images unchanged')
    parser.add_argument('--scale', type=float, help='scale factor (super-resolution weights only)')
    parser.add_argument(
        '--strength', type=float, default=1., help='blend: 0 is the input, 1 the output. Default: %(default)g')
    parser.add_argument('--gt', metavar='PATH', help='clean images (folder or file): print PSNR and SSIM')
    parser.add_argument(
        '--compare', action='store_true', help='also write <name>_compare.png: input | restored (| clean)')
    parser.add_argument('--ensemble', action='store_true', help='average over flips and rotations, 8 times slower')
    parser.add_argument(
        '--tile', type=int, default=512, help='tile size in pixels, 0 disables tiling. Default: %(default)s')
    parser.add_argument('--max_megapixels', type=float, default=179., help='refuse larger images. Default: %(default)g')
    parser.add_argument(
        '--precision', choices=('fp32', 'bf16', 'fp16'), default='fp32', help='compute precision. Default: %(default)s')
    parser.add_argument(
        '--backend',
        choices=('auto', 'torch', 'onnxruntime', 'openvino'),
        default='torch',
        help='inference engine on the CPU; auto: the fastest installed one. Default: %(default)s')
    parser.add_argument('--threads', type=int, help='threads on the CPU. Default: all cores')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ... Default: the GPU if there is one')
    parser.add_argument('--overwrite', action='store_true', help='replace existing files')
    args = parser.parse_args(argv)
    if args.tile < 0:
        parser.error(f'argument --tile: {args.tile} is negative')
    if args.threads is not None and args.threads < 1:
        parser.error(f'argument --threads: {args.threads} is not positive')
    if not 0 <= args.strength <= 1:
        parser.error(f'argument --strength: {args.strength:g} is outside [0, 1]')
    if not args.max_megapixels > 0:
        parser.error(f'argument --max_megapixels: {args.max_megapixels:g} is not positive')
    return args


def main(argv=None):
    """Run the command.

    Args:
        argv (list[str] | None): Arguments; None reads those of the process. Default: None.

    Returns:
        int: Exit code.
    """
    args = parse_args(argv)
    needs_basicsr = not args.auto and (osp.exists(args.weights)
                                       or args.weights not in load('inference.bundled').bundled_networks())
    load('plugin.light_imports').import_package(needs_basicsr)
    # absolute imports, since this file may have been loaded by its path, without the package around it
    from memnet_basicsr.errors import UsageError
    from memnet_basicsr.inference.batch import restore_files
    try:
        return 1 if restore_files(**vars(args)) else 0
    except UsageError as error:
        sys.stderr.write(f'memnet-restore: {error}\n')
        return 1
    except KeyboardInterrupt:
        sys.stderr.write('memnet-restore: stopped; run the same command again to continue\n')
        return 130


if __name__ == '__main__':
    sys.exit(main())
