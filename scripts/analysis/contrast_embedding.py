"""t-SNE of clean, degraded and restored patches in the space of the contrastive loss, and their mean cosines.

Example (the encoder's checkpoint lies beside the network's, net_c_*.pth, where --encoder does not name it):

    python scripts/analysis/contrast_embedding.py \
        --weights experiments/train_MemoryNet_RICE1_small/models/net_g_latest.pth \
        --opt options/train_MemoryNet_RICE1_small.yml --lq datasets/RICE1/test_lq.lmdb \
        --gt datasets/RICE1/test_gt.lmdb --output embedding.png

The encoder is network_c of the option file, else the network's own last stage (`features`, MemoryNet). Needs
scikit-learn (pip install 'memnet-basicsr[analysis]'). You see the mean cosines of two different patches, and of the
three patches of one place:

    clean - clean        0.912
    clean - degraded     0.105
    ...
    at the same place: restored-clean 0.955, restored-degraded 0.120, clean-degraded 0.118

If contrast has done its work, restored lies by clean and away from degraded. That alone says nothing about PSNR.
"""
import argparse
from tqdm import tqdm

import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.images import first_pictures, picture_pairs
from memnet_basicsr.analysis.memory.contrast_embedding import CLASSES, draw_embedding, embed, mean_cosines, project
from memnet_basicsr.analysis.networks import channels_of, load_encoder, load_network_of_training
from memnet_basicsr.errors import UsageError


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--weights', required=True, help='checkpoint, or weights file with its description')
    parser.add_argument('--opt', help="option file of the training; not needed with a description and `features`")
    parser.add_argument('--encoder', help='checkpoint of network_c. Default: net_c_*.pth beside --weights')
    parser.add_argument('--lq', required=True, help='folder or LMDB of degraded pictures')
    parser.add_argument('--gt', required=True, help='folder or LMDB of clean pictures')
    parser.add_argument('--output', required=True, help='PNG file to write')
    parser.add_argument('--max-pictures', type=int, help='take the first so many. Default: all')
    parser.add_argument('--patch-size', type=int, default=64, help='side of the patches in pixels. Default: 64')
    parser.add_argument('--per-picture', type=int, default=16, help='at most so many patches of each. Default: 16')
    parser.add_argument('--perplexity', type=float, default=30, help='of t-SNE. Default: 30')
    parser.add_argument('--device', help='where to compute. Default: the GPU where there is one')
    parser.add_argument('--name', help='name of the network in the title. Default: --weights')
    args = parser.parse_args(args)

    check_output(args.output)
    if min(args.patch_size, args.per_picture, args.perplexity) < 1:
        raise UsageError('--patch-size, --per-picture and --perplexity must be 1 or more')
    net, network_opt = load_network_of_training(args.weights, args.opt, args.device)
    encoder = load_encoder(net, args.weights, args.opt, args.encoder)
    pairs = first_pictures(picture_pairs(args.lq, args.gt, channels_of(net, network_opt)), args.max_pictures)
    progress = tqdm(pairs, unit='picture', leave=False)
    embeddings = embed(net, encoder, progress, args.patch_size, args.per_picture)
    matrix, same = mean_cosines(embeddings)
    for i, a in enumerate(CLASSES):
        for j, b in enumerate(CLASSES[i:], i):
            print(f'{f"{a} - {b}":20s} {matrix[i, j]:.3f}')
    print('at the same place: ' + ', '.join(f'{k} {v:.3f}' for k, v in same.items()))
    title = f'{args.name or args.weights} on {len(pairs)} pictures of {args.lq}'
    write_figure(draw_embedding(project(embeddings, args.perplexity), matrix, same, title), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
