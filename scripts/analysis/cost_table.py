"""Parameters, multiply-accumulates (MACs) and activations of the networks of option files, as a table.

Example (some 5 minutes of one core, with --size 64 64 less than one):

    python scripts/analysis/cost_table.py options/*.yml options/ablation/*.yml --csv cost.csv

Option files that have the same network_g share a row. Counted by mmengine's complexity analysis on one picture, in
evaluation mode, and cross-checked with torch's FLOP counter, which counts products alone (convolutions and matrix
products; its FLOPs are halved): the ratio of the two is 1.000000, or the row says that it deviates. "The rest" is what
mmengine counts beside products. Files without network_g (lists of an ablation) are left out. You see:

    | network_g of | type | parameters | GMACs (256 x 256) | of them products | torch | ratio | ...
    | train_MemNet_Denoise_BSD and 9 more | MemNet | 695,497 | 190.644 | 189.511 | 189.511 | 1.000000 | ...
"""
import argparse
import sys
from os import path as osp
from tqdm import tqdm

import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.analysis.complexity import complexity, cost_rows, csv_table, markdown_table, unique_networks
from memnet_basicsr.analysis.networks import channels_of
from memnet_basicsr.atomic_file import write_atomically
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.weights import build_untrained
from memnet_basicsr.plugin.option_file import load_yaml


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('options', nargs='+', metavar='OPTION_FILE', help='option files')
    parser.add_argument('--size', type=int, nargs=2, default=(256, 256), help='height and width. Default: 256 256')
    parser.add_argument('--markdown', help='file to write the table to, besides showing it')
    parser.add_argument('--csv', help='file to write all columns to, with the arguments of the networks')
    args = parser.parse_args(args)

    if min(args.size) < 1:
        raise UsageError(f'--size {args.size} must be positive')
    loaded = {osp.splitext(osp.basename(path))[0]: load_yaml(path).get('network_g') for path in args.options}
    left_out = [name for name, opt in loaded.items() if not isinstance(opt, dict)]
    if left_out:
        print(f'left out, no network_g: {", ".join(left_out)}', file=sys.stderr)
    networks = unique_networks({name: opt for name, opt in loaded.items() if name not in left_out})
    if not networks:
        raise UsageError('none of the option files has a network_g')
    costs = []
    for network_opt, names in tqdm(networks, unit='network', leave=False):
        net = build_untrained(network_opt, f'option file {names[0]}')
        costs.append((network_opt, names, complexity(net, (channels_of(net, network_opt), *args.size))))
    rows = cost_rows(costs)
    table = markdown_table(rows, args.size)
    print(table)
    for path, text in ((args.markdown, table + '\n'), (args.csv, csv_table(rows))):
        if path:
            try:
                write_atomically(path, text.encode())
            except OSError as error:
                raise UsageError(f'output {path}: cannot be written ({error.strerror})') from None
            print(f'wrote {path}', file=sys.stderr)


if __name__ == '__main__':
    run_command(main)
