"""Power spectrum of a MemNet's features along the depth (B_0, ..., B_M), of one or two networks side by side.

Example, with and without long-term connections:

    python scripts/analysis/feature_spectrum.py \
        --weights experiments/train_MemNet_Denoise_BSD/models/net_g_latest.pth \
                  experiments/train_MemNet_Denoise_BSD_NL/models/net_g_latest.pth \
        --opt options/train_MemNet_Denoise_BSD.yml options/ablation/train_MemNet_Denoise_BSD_NL.yml \
        --name MemNet MemNet_NL --pictures BSD68 --level sigma=50 --max-pictures 8 --output spectrum.png

Weights files that carry their description (scripts/package_weights.py) need no --opt. You see a line per network and
memory with the share of its power above 0.25 cycles per pixel:

    MemNet       B3   high frequencies 21.3 %   common to two draws of the noise 9.8 %

The paper holds that long-term memory restores the high frequencies that are lost on the way. But high frequencies in
features may be noise as well as detail. So noise is drawn twice: what both draws have in common comes from the picture,
the rest is noise that has passed. Each channel is divided by the standard deviation that the BatchNorm behind it has
found, as its readers do (not with --raw), and each picture counts alike.
"""
import argparse
from tqdm import tqdm

import memnet_basicsr  # noqa: F401  (registers the data sets)
from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.analysis.drawing import check_output, draw_spectra, write_figure
from memnet_basicsr.analysis.images import degraded_pictures, first_pictures
from memnet_basicsr.analysis.memory.spectrum import feature_spectra, mean_spectrum
from memnet_basicsr.analysis.networks import load_memnet
from memnet_basicsr.errors import UsageError


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', required=True, nargs='+', help='one or two checkpoints or weights files')
    parser.add_argument('--opt', nargs='+', default=[], help='their option files; not needed with descriptions')
    parser.add_argument('--name', nargs='+', default=[], help='their names in the figure. Default: --weights')
    parser.add_argument('--pictures', required=True, help='folder or LMDB of clean pictures, at least 64 x 64 pixels')
    parser.add_argument('--level', required=True, help='sigma=N, quality=N or downscale=N')
    parser.add_argument('--output', required=True, help='PNG file to write')
    parser.add_argument('--max-pictures', type=int, help='take the first so many. Default: all')
    parser.add_argument('--raw', action='store_true', help='channels as they are, not divided by what BatchNorm found')
    parser.add_argument('--device', help='where to compute. Default: the GPU where there is one')
    args = parser.parse_args(args)

    check_output(args.output)
    if len(args.weights) > 2:
        raise UsageError(f'--weights: {len(args.weights)} files given, one or two are shown')
    for key, values in (('opt', args.opt), ('name', args.name)):
        if len(values) not in (0, len(args.weights)):
            raise UsageError(
                f'--{key}: {len(values)} given for {len(args.weights)} of --weights; give as many, or none')
    nets = [load_memnet(v, opt, args.device) for v, opt in zip(args.weights, args.opt or [None] * len(args.weights))]
    networks = []
    for net, name in zip(nets, args.name or args.weights):
        draws = [degraded_pictures(args.pictures, args.level, net.recon_conv.out_channels, seed) for seed in (0, 1)]
        pairs, others = (first_pictures(v, args.max_pictures) for v in draws)
        progress = tqdm(pairs, unit='picture', desc=name, leave=False)
        spectra = feature_spectra(net, name, progress, others if args.level.startswith('sigma') else None, args.raw)
        networks.append(spectra)
        shares = 100 * spectra.high_share()
        commons = [None] * len(shares) if spectra.common is None else 100 * spectra.common_high_share()
        for m, (share, common) in enumerate(zip(shares, commons)):
            more = '' if common is None else f'   common to two draws of the noise {common:.1f} %'
            print(f'{name:12s} B{m:<3d} high frequencies {share:.1f} %{more}')
    clean, degraded = (mean_spectrum(pair[key] for pair in pairs) for key in ('gt', 'lq'))
    title = f'Features along the depth, {args.level}, {len(pairs)} pictures of {args.pictures}'
    write_figure(draw_spectra(networks, clean, degraded, title), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
