"""Print which slots of a memory the images of each validation dataset of an option file address.

Example, with a run of options/ablation/mixture.yml:

    python scripts/analysis/slots.py --opt results/ablation/runs/mixture_degradation_seed0.yml \
        --weights results/ablation/experiments/mixture_degradation_seed0/models/net_g_latest.pth

For memories of type degradation, dictionary and centers. Prints a table in percent for each memory, and how many bits
the addressed slot tells about the dataset (0: nothing, log2 of the number of datasets: everything).
"""
import numpy as np

import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import make_parser, run_command
from memnet_basicsr.analysis.memory.slots import slot_shares, slot_table, told_bits
from memnet_basicsr.analysis.networks import load_trained_network
from memnet_basicsr.plugin.option_file import load_yaml


def main(args=None):
    parser = make_parser(__doc__, 'weights', 'max_images')
    parser.add_argument('--opt', required=True, help='option file of the training run')
    args = parser.parse_args(args)
    net, _ = load_trained_network(args.weights, args.opt, 'cpu')
    datasets = [v for k, v in load_yaml(args.opt)['datasets'].items() if k.startswith('val')]
    for name, shares in slot_shares(net, datasets, args.max_images).items():
        bits, most = told_bits(shares), np.log2(len(datasets))
        print(f'{name}: the slot tells {bits:.2f} of {most:.2f} bits about the dataset; weights in percent\n')
        print(slot_table([v['name'] for v in datasets], shares) + '\n')


if __name__ == '__main__':
    run_command(main)
