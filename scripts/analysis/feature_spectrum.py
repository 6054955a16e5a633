"""Draw the power spectrum of a MemNet's features along the depth (B_0, ..., B_M), for one or two networks.

Example, with and without long-term connections:

    python scripts/analysis/feature_spectrum.py \
        --weights experiments/train_MemNet_Denoise_BSD/models/net_g_latest.pth \
                  experiments/train_MemNet_Denoise_BSD_NL/models/net_g_latest.pth \
        --opt options/train_MemNet_Denoise_BSD.yml options/ablation/train_MemNet_Denoise_BSD_NL.yml \
        --name MemNet MemNet_NL --images BSD68 --level sigma=50 --max-images 8 --output spectrum.png

Prints one line per network and memory with the share of its power above 0.25 cycles per pixel:

    MemNet       B3   high frequencies 21.3 %   common to two draws of the noise 9.8 %

The paper states that long-term memory restores high frequencies that are lost along the depth. High frequencies of
features can be noise as well as detail. Therefore noise is drawn twice: the part that both draws share comes from the
image, the rest is noise. Each channel is divided by the running standard deviation of the BatchNorm that reads it. All
images have equal weight.
"""
from tqdm import tqdm

import memnet_basicsr  # noqa: F401  (registers the datasets)
from memnet_basicsr.analysis.command import make_parser, per_network, run_command
from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.images import degraded_images, first_images
from memnet_basicsr.analysis.memory.memnet_drawing import draw_spectra
from memnet_basicsr.analysis.memory.spectrum import feature_spectra, mean_spectrum
from memnet_basicsr.analysis.networks import load_memnet
from memnet_basicsr.errors import UsageError


def main(args=None):
    parser = make_parser(__doc__, 'output', 'max_images', 'device', several=('weights', 'opt', 'name'))
    parser.add_argument('--images', required=True, help='folder or LMDB of clean images of at least 64x64 pixels')
    parser.add_argument('--level', required=True, help='sigma=N, quality=N or downscale=N')
    args = parser.parse_args(args)

    check_output(args.output)
    if len(args.weights) > 2:
        raise UsageError(f'--weights: {len(args.weights)} files given; give one or two')
    nets = [load_memnet(v, opt, args.device) for v, opt in zip(args.weights, per_network(args, 'opt'))]
    networks = []
    for net, name, weights in zip(nets, per_network(args, 'name'), args.weights):
        draws = [degraded_images(args.images, args.level, net.recon_conv.out_channels, seed) for seed in (0, 1)]
        pairs, others = (first_images(v, args.max_images) for v in draws)
        progress = tqdm(pairs, unit='image', desc=name, leave=False)
        spectra = feature_spectra(net, name or weights, progress, others if args.level.startswith('sigma') else None)
        networks.append(spectra)
        shares = 100 * spectra.high_share()
        commons = [None] * len(shares) if spectra.common is None else 100 * spectra.common_high_share()
        for m, (share, common) in enumerate(zip(shares, commons)):
            more = '' if common is None else f'   common to two draws of the noise {common:.1f} %'
            print(f'{spectra.name:12s} B{m:<3d} high frequencies {share:.1f} %{more}')
    clean, degraded = (mean_spectrum(pair[key] for pair in pairs) for key in ('gt', 'lq'))
    title = f'Features along the depth, {args.level}, {len(pairs)} images of {args.images}'
    write_figure(draw_spectra(networks, clean, degraded, title), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
