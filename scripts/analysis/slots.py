"""Print which slots of a memory the images of each validation dataset of an option file address.

Example, with a run of options/ablation/mixture.yml:

    python scripts/analysis/slots.py --opt results/ablation/runs/mixture_degradation_seed0.yml \
        --weights results/ablation/experiments/mixture_degradation_seed0/models/net_g_latest.pth

For memories of type degradation, dictionary and centers. Prints a table in percent for each memory, and the mutual
information in bits of slot and dataset (0: independent, log2 of the number of datasets: the slot determines it).
--exchange, for type degradation and images of one size, also prints the change of PSNR when images read what the images
of another dataset address.
"""
import numpy as np

import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import make_parser, markdown_table, run_command
from memnet_basicsr.analysis.memory.slots import exchanged_psnr, slot_shares, slot_table, told_bits
from memnet_basicsr.analysis.networks import load_trained_network
from memnet_basicsr.plugin.option_file import load_yaml


def main(args=None):
    parser = make_parser(__doc__, 'weights', 'max_images')
    parser.add_argument('--opt', required=True, help='option file of the training run')
    parser.add_argument('--exchange', action='store_true', help='let images read what other images address')
    args = parser.parse_args(args)
    net, _ = load_trained_network(args.weights, args.opt, 'cpu')
    datasets = [v for k, v in load_yaml(args.opt)['datasets'].items() if k.startswith('val')]
    names = [v['name'] for v in datasets]
    for name, shares in slot_shares(net, datasets, args.max_images).items():
        bits, most = told_bits(shares), np.log2(len(datasets))
        print(f'{name}: mutual information of slot and dataset {bits:.2f} of {most:.2f} bits; weights in percent\n')
        print(slot_table(names, shares) + '\n')
    if args.exchange:
        psnr = exchanged_psnr(net, datasets, args.max_images)
        print('Change of PSNR in dB of the images of each row, when they read what the images of the column address\n')
        print(
            markdown_table(['images', *names], [[name, *(f'{v:+.3f}' for v in row - own)]
                                                for name, row, own in zip(names, psnr, psnr.diagonal())]))


if __name__ == '__main__':
    run_command(main)
