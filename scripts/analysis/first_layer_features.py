"""Draw first-layer features of networks for the same image: the paper's figure, with and without memory.

Example:

    python scripts/analysis/first_layer_features.py \
        --weights experiments/backbone/models/net_g_latest.pth experiments/memory/models/net_g_latest.pth \
        --opt experiments/backbone/backbone.yml options/train_MemoryNet_RICE1.yml \
        --name backbone memory --image cloudy.png --output first_layer.png

For any network. mmengine draws the mean of |feature| over the image and the strongest channels, each in its own range;
channels of different networks do not correspond. The first layer does not read the memory, so a difference comes from
training. --layer selects another layer, for example insertions.stage1_encoder3, the output of the memory.

Prints one line per network. "gradients" is the mean absolute difference of neighboring positions over the standard
deviation of the channel, near 0 for smooth features and 1.13 for white noise:

    backbone     layer shallow_feat1.0   40 channels of 256x256   gradients 0.312
"""
import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import make_parser, per_network, run_command
from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.images import Images
from memnet_basicsr.analysis.memory.first_layer import draw_first_layers, gradients, layer_features
from memnet_basicsr.analysis.networks import channels_of, load_trained_network
from memnet_basicsr.errors import UsageError


def main(args=None):
    parser = make_parser(__doc__, 'index', 'output', 'device', several=('weights', 'opt', 'name'))
    parser.add_argument('--image', required=True, help='image file, or folder or LMDB of which --index selects one')
    parser.add_argument('--layer', nargs='+', help='layer of all networks, or of each. Default: the first layer')
    parser.add_argument('--channels', type=int, default=12, help='channels to draw for each network. Default: 12')
    args = parser.parse_args(args)

    check_output(args.output)
    if args.channels < 1:
        raise UsageError(f'--channels {args.channels} must be positive')
    opts, names, layers = (per_network(args, 'opt'), per_network(args, 'name'), per_network(args, 'layer', True))
    networks = []
    for weights, opt, name, layer in zip(args.weights, opts, names, layers):
        net, network_opt = load_trained_network(weights, opt, args.device)
        item = Images(args.image, channels_of(net, network_opt)).select(args.index)
        layer, feature = layer_features(net, item['lq'], layer)
        networks.append((name or weights, layer, feature))
        print(f'{name or weights:12s} layer {layer}   {len(feature)} channels of {feature.shape[2]}x'
              f'{feature.shape[1]}   gradients {gradients(feature):.3f}')
    write_figure(draw_first_layers(item['lq'], networks, f'Features of {item["name"]}', args.channels), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
