"""Make a weights file that needs no option file from a training checkpoint and its option file.

    python scripts/package_weights.py --checkpoint experiments/train_MemNet_Denoise_BSD/models/net_g_latest.pth \
        --opt options/train_MemNet_Denoise_BSD.yml --task denoise --range sigma=30:70 --metric BSD68_50_psnr=26.2 \
        --output memnet_denoise.safetensors

Then: memnet-restore -i noisy.png -o clean.png --weights memnet_denoise.safetensors
"""
import argparse
import sys

from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.description import COLORS
from memnet_basicsr.inference.packaging import package_weights


def metric(text):
    name, _, value = text.partition('=')
    return name, float(value)


def valid_range(text):
    quantity, _, limits = text.partition('=')
    return quantity, [float(v) for v in limits.split(':')]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--checkpoint', required=True, help='net_g_*.pth of a training')
    parser.add_argument('--opt', required=True, help='option file of the training')
    parser.add_argument('--output', required=True, help='.pth or .safetensors file to write')
    parser.add_argument('--task', required=True, choices=('denoise', 'jpeg', 'sr', 'restore'))
    parser.add_argument('--scale', type=int, nargs='+', help='factors of super-resolution in training')
    parser.add_argument(
        '--range',
        type=valid_range,
        nargs='*',
        default=[],
        metavar='NAME=LOW:HIGH',
        help='inputs that the network is for: sigma=0:75 (noise, scale 0..255) or quality=5:98 (JPEG)')
    parser.add_argument('--color', choices=COLORS, help='how a one-channel network restores color. Default: by task')
    parser.add_argument('--local_statistics', type=int, help='side of the training patches, for local pooling')
    parser.add_argument('--param_key', choices=('params', 'params_ema'), help='Default: params_ema if there is one')
    parser.add_argument('--metric', type=metric, nargs='*', default=[], metavar='NAME=VALUE', help='metrics to store')
    parser.add_argument('--note', help='any other text, such as the terms of the training images')
    args = parser.parse_args()
    try:
        package_weights(
            args.checkpoint,
            args.opt,
            args.output,
            args.param_key,
            task=args.task,
            scale=args.scale,
            color=args.color,
            local_statistics=args.local_statistics,
            metrics=dict(args.metric) or None,
            note=args.note,
            valid_range=dict(args.range) or None)
    except (UsageError, OSError) as error:
        sys.exit(f'package_weights: {error}')
    print(f'{args.output}: written, and loaded again')


if __name__ == '__main__':
    main()
