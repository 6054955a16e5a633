"""Draw where in an image a network addresses which prototype, and how sharply; one row of maps per insertion.

Example:

    python scripts/analysis/addressing_maps.py --weights experiments/train_MemoryNet_RICE1/models/net_g_latest.pth \
        --opt options/train_MemoryNet_RICE1.yml --image cloudy.png --output addressing.png

For MemoryNet (memory: feature or released) and MemoryAugmented. The maps are: the strongest prototype (the ten most
frequent ones in color, others in gray), the entropy of the addressing over log N (0: one prototype, 1: uniform), and
the weights of the --top prototypes with the largest mean weight. Prints one line per insertion:

    stage1_encoder3  part       entropy 0.812 (0.341..0.990)   information 0.0913   strongest somewhere 17 of 100 ...

Information is 0 if all positions have the same weights, and at most 1. The last value is the mean cosine of the queries
of two positions; near 1, all positions send the same query and get the same answer.
"""
import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import make_parser, run_command
from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.images import Images
from memnet_basicsr.analysis.memory.addressing import restore_and_record
from memnet_basicsr.analysis.memory.drawing import draw_addressing
from memnet_basicsr.analysis.memory.prototypes import PlaceUse
from memnet_basicsr.analysis.networks import channels_of, load_trained_network
from memnet_basicsr.errors import UsageError


def main(args=None):
    parser = make_parser(__doc__, 'weights', 'opt', 'index', 'output', 'device', 'name')
    parser.add_argument('--image', required=True, help='image file, or folder or LMDB of which --index selects one')
    parser.add_argument('--top', type=int, default=3, help='maps of single prototypes in each row. Default: 3')
    args = parser.parse_args(args)

    check_output(args.output)
    if args.top < 0:
        raise UsageError(f'--top {args.top} must be at least 0')
    net, network_opt = load_trained_network(args.weights, args.opt, args.device)
    item, places = Images(args.image, channels_of(net, network_opt)).select(args.index), []
    restored = restore_and_record(net, item['lq'], places.append)
    for place in places:
        use, entropy = PlaceUse(), place.entropy()
        use.add(place)
        print(f'{place.place:16s} {place.level:10s} entropy {use.entropy():.3f} ({float(entropy.min()):.3f}..'
              f'{float(entropy.max()):.3f})   information {use.information():.4f}   strongest somewhere '
              f'{int((use.wins > 0).sum())} of {len(use.wins)}   cosine of queries {place.query_cosine:.3f}')
    title = f'{args.name or args.weights} on {item["name"]}'
    write_figure(draw_addressing(item['lq'], restored, places, title, args.top), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
