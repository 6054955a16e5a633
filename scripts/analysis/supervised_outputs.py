"""Learned ensemble weights w_m of a MemNet, and PSNR of each supervised output y_m and of the result sum w_m y_m.

Example (a folder or LMDB of clean pictures; each level degrades them anew, as in validation):

    python scripts/analysis/supervised_outputs.py \
        --weights experiments/train_MemNet_Denoise_BSD/models/net_g_latest.pth \
        --opt options/train_MemNet_Denoise_BSD.yml --pictures BSD68 --level sigma=30 sigma=50 sigma=70 --output out.png

Levels are sigma=N (noise), quality=N (JPEG) and downscale=N (super-resolution; uint8, N pixels shaved). A weights file
that carries its description (scripts/package_weights.py) needs no --opt. You see:

    ensemble weights: -0.003 0.012 0.991 (sum 1.000)
    sigma=50   input 14.15   y1 24.10   y2 25.80   y3 26.11   result 26.15 dB   (68 pictures)
"""
import argparse
from tqdm import tqdm

import memnet_basicsr  # noqa: F401  (registers the data sets)
from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.analysis.drawing import check_output, draw_supervised_outputs, write_figure
from memnet_basicsr.analysis.images import degraded_pictures, first_pictures, protocol
from memnet_basicsr.analysis.networks import load_memnet
from memnet_basicsr.analysis.supervised_outputs import ensemble_weights, psnr_of_outputs


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', required=True, help='checkpoint, or weights file with its description')
    parser.add_argument('--opt', help='option file of the training; not needed with a description')
    parser.add_argument('--pictures', required=True, help='folder or LMDB of clean pictures')
    parser.add_argument('--level', required=True, nargs='+', help='sigma=N, quality=N or downscale=N')
    parser.add_argument('--output', required=True, help='PNG file to write')
    parser.add_argument('--max-pictures', type=int, help='take the first so many. Default: all')
    parser.add_argument('--device', help='where to compute. Default: the GPU where there is one')
    parser.add_argument('--name', help='name of the network in the title. Default: --weights')
    args = parser.parse_args(args)

    check_output(args.output)
    net = load_memnet(args.weights, args.opt, args.device)
    weights = ensemble_weights(net)
    print(f'ensemble weights: {" ".join(f"{w:.3f}" for w in weights)} (sum {sum(weights):.3f})')
    levels = {}
    for level in args.level:
        dataset = degraded_pictures(args.pictures, level, net.recon_conv.out_channels)
        pairs = first_pictures(dataset, args.max_pictures)
        levels[level] = psnr_of_outputs(net, tqdm(pairs, unit='picture', desc=level, leave=False), **protocol(level))
        lq, outputs, result = levels[level]
        values = '   '.join(f'y{m} {value:.2f}' for m, value in enumerate(outputs, 1))
        print(f'{level}   input {lq:.2f}   {values}   result {result:.2f} dB   ({len(pairs)} pictures)')
    title = f'{args.name or args.weights} on {len(pairs)} pictures of {args.pictures}'
    write_figure(draw_supervised_outputs(weights, levels, title), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
