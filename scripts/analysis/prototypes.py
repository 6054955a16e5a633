"""What the prototypes of a memory are: how alike, how much used, and which patches of pictures address each most.

Example:

    python scripts/analysis/prototypes.py --weights experiments/train_MemoryNet_RICE1/models/net_g_latest.pth \
        --opt options/train_MemoryNet_RICE1.yml --pictures datasets/RICE1/test_lq.lmdb --output prototypes.png

For MemoryNet (memory: feature or released) and MemoryAugmented; weights files that carry their description
(scripts/package_weights.py) need no --opt. Writes a picture for each level that is read, prototypes_part.png and so on,
and you see a line for each:

    part       100 prototypes, 5 dead   similarity 0.002   stage1_encoder3 entropy 0.843, information 0.0312; ...

Dead: mean weight below a tenth of 1/N. Similarity: mean cosine of two different prototypes. Entropy: of the addressing,
over log N, 0 (one prototype) to 1 (uniform). Information: what the addressing tells about the position, 0 (every
position is addressed alike, the memory returns a constant) to 1 (each has one prototype, all are used alike).
"""
import argparse
from os import path as osp
from tqdm import tqdm

import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.images import Pictures, first_pictures
from memnet_basicsr.analysis.memory.drawing import describe_places, draw_prototypes
from memnet_basicsr.analysis.memory.prototypes import prototype_use
from memnet_basicsr.analysis.networks import channels_of, load_network_of_training
from memnet_basicsr.errors import UsageError


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', required=True, help='checkpoint, or weights file with its description')
    parser.add_argument('--opt', help='option file of the training; not needed with a description')
    parser.add_argument('--pictures', required=True, help='picture, folder or LMDB of degraded pictures')
    parser.add_argument('--output', required=True, help='PNG files to write: NAME.png gives NAME_<level>.png')
    parser.add_argument('--max-pictures', type=int, help='take the first so many. Default: all')
    parser.add_argument('--patches', type=int, default=4, help='patches shown of each prototype. Default: 4')
    parser.add_argument('--patch-size', type=int, default=32, help='their side in pixels. Default: 32')
    parser.add_argument('--device', help='where to compute. Default: the GPU where there is one')
    parser.add_argument('--name', help='name of the network in the title. Default: --weights')
    args = parser.parse_args(args)

    check_output(args.output)
    if min(args.patches, args.patch_size) < 1:
        raise UsageError(f'--patches {args.patches} and --patch-size {args.patch_size} must be positive')
    net, network_opt = load_network_of_training(args.weights, args.opt, args.device)
    pictures = first_pictures(Pictures(args.pictures, channels_of(net, network_opt)), args.max_pictures)
    levels = prototype_use(net, tqdm(pictures, unit='picture', leave=False), args.patches, args.patch_size)
    title = f'{args.name or args.weights} on {len(pictures)} pictures of {args.pictures}'
    for level, use in levels.items():
        print(f'{level:10s} {len(use.patches)} prototypes, {int(use.dead().sum())} dead   similarity '
              f'{use.mean_similarity():.3f}   {describe_places(use)}')
    for level, use in levels.items():
        path = f'{osp.splitext(args.output)[0]}_{level}.png'
        write_figure(draw_prototypes(level, use, title), path)
        print(f'wrote {path}')


if __name__ == '__main__':
    run_command(main)
