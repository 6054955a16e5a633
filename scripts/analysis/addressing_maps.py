"""Where in a picture which prototype is addressed, and how sharply: a row of maps for each place that reads the memory.

Example:

    python scripts/analysis/addressing_maps.py --weights experiments/train_MemoryNet_RICE1/models/net_g_latest.pth \
        --opt options/train_MemoryNet_RICE1.yml --picture cloudy.png --output addressing.png

For MemoryNet (memory: feature or released) and MemoryAugmented; weights files that carry their description
(scripts/package_weights.py) need no --opt. The maps: the strongest prototype (the ten that lead most often have a
colour each, all others are gray), the entropy of the addressing over log N (0: one prototype; 1: uniform), and the
weights of the --top prototypes of the largest mean weight. You see a line for each place:

    stage1_encoder3  part       entropy 0.812 (0.341..0.990)   information 0.0913   strongest somewhere 17 of 100 ...

Information: what the addressing tells about the position, 0 (every position is addressed alike) to 1. The last figure
is the mean cosine between what two positions ask the memory with: near 1 they ask the same and get the same.
"""
import argparse

import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.images import Pictures
from memnet_basicsr.analysis.memory.addressing import restore_and_watch
from memnet_basicsr.analysis.memory.drawing import draw_addressing
from memnet_basicsr.analysis.memory.prototypes import PlaceUse
from memnet_basicsr.analysis.networks import channels_of, load_network_of_training
from memnet_basicsr.errors import UsageError


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', required=True, help='checkpoint, or weights file with its description')
    parser.add_argument('--opt', help='option file of the training; not needed with a description')
    parser.add_argument('--picture', required=True, help='picture; of a folder or LMDB the one of --index')
    parser.add_argument('--index', type=int, default=0, help='which picture of a folder or LMDB. Default: 0')
    parser.add_argument('--output', required=True, help='PNG file to write')
    parser.add_argument('--top', type=int, default=3, help='maps of single prototypes in each row. Default: 3')
    parser.add_argument('--device', help='where to compute. Default: the GPU where there is one')
    parser.add_argument('--name', help='name of the network in the title. Default: --weights')
    args = parser.parse_args(args)

    check_output(args.output)
    net, network_opt = load_network_of_training(args.weights, args.opt, args.device)
    pictures = Pictures(args.picture, channels_of(net, network_opt))
    if not 0 <= args.index < len(pictures) or args.top < 0:
        raise UsageError(f'--index {args.index} must lie in 0..{len(pictures) - 1}, --top {args.top} not below 0')
    item, places = pictures[args.index], []
    restored = restore_and_watch(net, item['lq'], places.append)
    for place in places:
        use, entropy = PlaceUse(), place.entropy()
        use.add(place)
        print(f'{place.place:16s} {place.level:10s} entropy {use.entropy():.3f} ({float(entropy.min()):.3f}..'
              f'{float(entropy.max()):.3f})   information {use.information():.4f}   strongest somewhere '
              f'{int((use.wins > 0).sum())} of {len(use.wins)}   cosine of two positions {place.query_cosine:.3f}')
    title = f'{args.name or args.weights} on {item["name"]}'
    write_figure(draw_addressing(item['lq'], restored, places, title, args.top), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
