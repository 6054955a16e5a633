"""First-layer features of one or two networks for the same picture: the paper's figure, with and without memory.

Example:

    python scripts/analysis/first_layer_features.py \
        --weights experiments/train_MemoryNet_RICE1_backbone/models/net_g_latest.pth \
                  experiments/train_MemoryNet_RICE1/models/net_g_latest.pth \
        --opt options/ablation/train_MemoryNet_RICE1_backbone.yml options/train_MemoryNet_RICE1.yml \
        --name backbone memory --picture cloudy.png --output first_layer.png

For any network; weights files that carry their description (scripts/package_weights.py) need no --opt. Drawn by
mmengine's feature maps: the mean of |feature| over the picture, and the channels that vary most, each in its own range
(channels of two networks have nothing to do with each other). The first layer itself does not read the memory: what
differs is what was learnt. --layer shows another one, insertions.stage1_encoder3 what the memory hands on, for example.
You see a line for each network; "gradients" is the mean |difference| of neighbours over the standard deviation of the
channel, near 0 for smooth features and 1.13 for white noise:

    backbone     layer shallow_feat1.0   40 channels of 256 x 256   gradients 0.312
"""
import argparse

import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.images import Pictures
from memnet_basicsr.analysis.memory.first_layer import draw_first_layers, gradients, layer_features
from memnet_basicsr.analysis.networks import channels_of, load_network_of_training
from memnet_basicsr.errors import UsageError


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', required=True, nargs='+', help='checkpoints or weights files')
    parser.add_argument('--opt', nargs='+', default=[], help='their option files; not needed with descriptions')
    parser.add_argument('--name', nargs='+', default=[], help='their names in the figure. Default: --weights')
    parser.add_argument('--picture', required=True, help='picture; of a folder or LMDB the one of --index')
    parser.add_argument('--index', type=int, default=0, help='which picture of a folder or LMDB. Default: 0')
    parser.add_argument('--layer', nargs='+', default=[], help='one for all, or one each. Default: the first one')
    parser.add_argument('--output', required=True, help='PNG file to write')
    parser.add_argument('--channels', type=int, default=12, help='channels shown of each network. Default: 12')
    parser.add_argument('--device', help='where to compute. Default: the GPU where there is one')
    args = parser.parse_args(args)

    check_output(args.output)
    count = len(args.weights)
    for key, values, allowed in (('opt', args.opt, (0, count)), ('name', args.name, (0, count)), ('layer', args.layer,
                                                                                                  (0, 1, count))):
        if len(values) not in allowed:
            raise UsageError(f'--{key}: {len(values)} given for {count} of --weights; give as many, or none')
    if args.channels < 1:
        raise UsageError(f'--channels {args.channels} must be positive')
    layers = args.layer * count if len(args.layer) == 1 else args.layer or [None] * count
    networks = []
    for k, weights in enumerate(args.weights):
        net, network_opt = load_network_of_training(weights, args.opt[k] if args.opt else None, args.device)
        pictures = Pictures(args.picture, channels_of(net, network_opt))
        if not 0 <= args.index < len(pictures):
            raise UsageError(f'--index {args.index} must lie in 0..{len(pictures) - 1}')
        item = pictures[args.index]
        name = args.name[k] if args.name else weights
        layer, feature = layer_features(net, item['lq'], layers[k])
        networks.append((name, layer, feature))
        print(f'{name:12s} layer {layer}   {len(feature)} channels of {feature.shape[2]} x {feature.shape[1]}   '
              f'gradients {gradients(feature):.3f}')
    write_figure(draw_first_layers(item['lq'], networks, f'Features of {item["name"]}', args.channels), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
