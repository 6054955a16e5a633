"""Draw t-SNE of clean, degraded and restored patches in the space of the contrastive loss, and their mean cosines.

Example:

    python scripts/analysis/contrast_embedding.py \
        --weights experiments/train_MemoryNet_RICE1_small/models/net_g_latest.pth \
        --opt options/train_MemoryNet_RICE1_small.yml --lq datasets/RICE1/test_lq.lmdb \
        --gt datasets/RICE1/test_gt.lmdb --output embedding.png

The encoder is network_c of the option file, else the `features` of the network (MemoryNet). Needs scikit-learn (pip
install 'memnet-basicsr[analysis]'). Prints the mean cosines of two different patches, and of the three patches of the
same place:

    clean - clean        0.912
    clean - degraded     0.105
    ...
    at the same place: restored-clean 0.955, restored-degraded 0.120, clean-degraded 0.118

If the contrastive loss works, restored patches are near clean ones and far from degraded ones. This does not imply a
better PSNR.
"""
from tqdm import tqdm

import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import make_parser, run_command
from memnet_basicsr.analysis.drawing import check_output, write_figure
from memnet_basicsr.analysis.images import first_images, image_pairs
from memnet_basicsr.analysis.memory.contrast_embedding import CLASSES, draw_embedding, embed, mean_cosines, project
from memnet_basicsr.analysis.networks import channels_of, load_encoder, load_trained_network
from memnet_basicsr.errors import UsageError


def main(args=None):
    parser = make_parser(__doc__, 'weights', 'opt', 'output', 'max_images', 'device', 'name')
    parser.add_argument('--encoder', help='checkpoint of network_c. Default: net_c_*.pth beside --weights')
    parser.add_argument('--lq', required=True, help='folder or LMDB of degraded images')
    parser.add_argument('--gt', required=True, help='folder or LMDB of clean images')
    parser.add_argument('--patch-size', type=int, default=64, help='patch size in pixels. Default: 64')
    parser.add_argument('--per-image', type=int, default=16, help='maximum number of patches per image. Default: 16')
    parser.add_argument('--perplexity', type=float, default=30, help='perplexity of t-SNE. Default: 30')
    args = parser.parse_args(args)

    check_output(args.output)
    if min(args.patch_size, args.per_image, args.perplexity) < 1:
        raise UsageError('--patch-size, --per-image and --perplexity must be at least 1')
    net, network_opt = load_trained_network(args.weights, args.opt, args.device)
    encoder = load_encoder(net, args.weights, args.opt, args.encoder)
    pairs = first_images(image_pairs(args.lq, args.gt, channels_of(net, network_opt)), args.max_images)
    embeddings = embed(net, encoder, tqdm(pairs, unit='image', leave=False), args.patch_size, args.per_image)
    matrix, same = mean_cosines(embeddings)
    for i, a in enumerate(CLASSES):
        for j, b in enumerate(CLASSES[i:], i):
            print(f'{f"{a} - {b}":20s} {matrix[i, j]:.3f}')
    print('at the same place: ' + ', '.join(f'{k} {v:.3f}' for k, v in same.items()))
    title = f'{args.name or args.weights} on {len(pairs)} images of {args.lq}'
    write_figure(draw_embedding(project(embeddings, args.perplexity), matrix, same, title), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
