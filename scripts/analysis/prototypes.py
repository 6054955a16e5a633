"""Draw the prototypes of a memory: their similarity, their usage, and the patches that address each of them most.

Example:

    python scripts/analysis/prototypes.py --weights experiments/train_MemoryNet_RICE1/models/net_g_latest.pth \
        --opt options/train_MemoryNet_RICE1.yml --images datasets/RICE1/test_lq.lmdb --output prototypes.png

For MemoryNet (memory: feature or released) and MemoryAugmented. Writes one figure per level, prototypes_part.png and so
on, and prints one line per level:

    part       100 prototypes, 5 dead   similarity 0.002   stage1_encoder3 entropy 0.843, information 0.0312; ...

Dead: mean weight below 0.1 / N. Similarity: mean cosine of two different prototypes. Entropy: of the addressing, over
log N, 0 (one prototype) to 1 (uniform). Information: 0 if all positions have the same weights, so the memory returns a
constant, to 1 if each position addresses one prototype and all prototypes are used equally.
"""
from os import path as osp
from tqdm import tqdm

import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import make_parser, run_command
from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.images import Images, first_images
from memnet_basicsr.analysis.memory.drawing import describe_places, draw_prototypes
from memnet_basicsr.analysis.memory.prototypes import prototype_use
from memnet_basicsr.analysis.networks import channels_of, load_trained_network
from memnet_basicsr.errors import UsageError


def main(args=None):
    parser = make_parser(__doc__, 'weights', 'opt', 'max_images', 'device', 'name')
    parser.add_argument('--images', required=True, help='image file, folder or LMDB of degraded images')
    parser.add_argument('--output', required=True, help='PNG files to write: NAME.png gives NAME_<level>.png')
    parser.add_argument('--patches', type=int, default=4, help='patches to draw for each prototype. Default: 4')
    parser.add_argument('--patch-size', type=int, default=32, help='patch size in pixels. Default: 32')
    args = parser.parse_args(args)

    check_output(args.output)
    if min(args.patches, args.patch_size) < 1:
        raise UsageError(f'--patches {args.patches} and --patch-size {args.patch_size} must be positive')
    net, network_opt = load_trained_network(args.weights, args.opt, args.device)
    images = first_images(Images(args.images, channels_of(net, network_opt)), args.max_images)
    levels = prototype_use(net, tqdm(images, unit='image', leave=False), args.patches, args.patch_size)
    title = f'{args.name or args.weights} on {len(images)} images of {args.images}'
    for level, use in levels.items():
        path = f'{osp.splitext(args.output)[0]}_{level}.png'
        write_figure(draw_prototypes(level, use, title), path)
        print(f'{level:10s} {len(use.patches)} prototypes, {int(use.dead().sum())} dead   similarity '
              f'{use.mean_similarity():.3f}   {describe_places(use)}   wrote {path}')


if __name__ == '__main__':
    run_command(main)
