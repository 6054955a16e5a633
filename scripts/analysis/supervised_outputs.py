"""Draw the ensemble weights w_m of a MemNet, and PSNR of its supervised outputs y_m and of the result sum w_m y_m.

Example:

    python scripts/analysis/supervised_outputs.py \
        --weights experiments/train_MemNet_Denoise_BSD/models/net_g_latest.pth \
        --opt options/train_MemNet_Denoise_BSD.yml --images BSD68 --level sigma=30 sigma=50 sigma=70 --output out.png

Levels are sigma=N (noise), quality=N (JPEG) and downscale=N (super-resolution; uint8, cropped by N pixels). Clean
images are degraded as in validation. Prints:

    ensemble weights: -0.003 0.012 0.991 (sum 1.000)
    sigma=50   input 14.15   y1 24.10   y2 25.80   y3 26.11   result 26.15 dB   (68 images)
"""
from tqdm import tqdm

import memnet_basicsr  # noqa: F401  (registers the datasets)
from memnet_basicsr.analysis.command import make_parser, run_command
from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.images import degraded_images, first_images, protocol
from memnet_basicsr.analysis.memory.memnet_drawing import draw_supervised_outputs
from memnet_basicsr.analysis.memory.supervised_outputs import ensemble_weights, psnr_of_outputs
from memnet_basicsr.analysis.networks import load_memnet


def main(args=None):
    parser = make_parser(__doc__, 'weights', 'opt', 'output', 'max_images', 'device', 'name')
    parser.add_argument('--images', required=True, help='folder or LMDB of clean images')
    parser.add_argument('--level', required=True, nargs='+', help='sigma=N, quality=N or downscale=N')
    args = parser.parse_args(args)

    check_output(args.output)
    net = load_memnet(args.weights, args.opt, args.device)
    weights = ensemble_weights(net)
    print(f'ensemble weights: {" ".join(f"{w:.3f}" for w in weights)} (sum {sum(weights):.3f})')
    levels = {}
    for level in args.level:
        pairs = first_images(degraded_images(args.images, level, net.recon_conv.out_channels), args.max_images)
        levels[level] = psnr_of_outputs(net, tqdm(pairs, unit='image', desc=level, leave=False), **protocol(level))
        lq, outputs, result = levels[level]
        values = '   '.join(f'y{m} {value:.2f}' for m, value in enumerate(outputs, 1))
        print(f'{level}   input {lq:.2f}   {values}   result {result:.2f} dB   ({len(pairs)} images)')
    title = f'{args.name or args.weights} on {len(pairs)} images of {args.images}'
    write_figure(draw_supervised_outputs(weights, levels, title), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
