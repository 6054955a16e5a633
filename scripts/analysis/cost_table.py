"""Print parameters, multiply-accumulates (MACs) and activations of the networks of option files.

Example (some 5 minutes on one core; less than one with --size 64 64):

    python scripts/analysis/cost_table.py options/*.yml options/ablation/*.yml --csv cost.csv

Counted by mmengine for one image, in evaluation mode. Option files with the same network_g share a row; files without
network_g (plans of an ablation) are skipped. Prints Markdown:

    | option files                      | type   |   parameters |   GMACs (256x256) |   activations (M) |
    | train_MemNet_Denoise_BSD and 9 more | MemNet | 695,497 | 190.644 | ...
"""
import csv
import sys
from os import path as osp
from tabulate import tabulate
from tqdm import tqdm

import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import make_parser, run_command
from memnet_basicsr.analysis.complexity import complexity, unique_networks
from memnet_basicsr.analysis.networks import channels_of
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.weights import build_untrained
from memnet_basicsr.plugin.option_file import load_yaml


def main(args=None):
    parser = make_parser(__doc__)
    parser.add_argument('options', nargs='+', metavar='OPTION_FILE', help='option files')
    parser.add_argument('--size', type=int, nargs=2, default=(256, 256), help='height and width. Default: 256 256')
    parser.add_argument('--csv', help='CSV file to write, with all option files and the arguments of the networks')
    args = parser.parse_args(args)

    if min(args.size) < 1:
        raise UsageError(f'--size {args.size} must be positive')
    loaded = {osp.splitext(osp.basename(path))[0]: load_yaml(path).get('network_g') for path in args.options}
    skipped = [name for name, opt in loaded.items() if not isinstance(opt, dict)]
    if skipped:
        print(f'skipped, no network_g: {", ".join(skipped)}', file=sys.stderr)
    networks = unique_networks({name: opt for name, opt in loaded.items() if name not in skipped})
    if not networks:
        raise UsageError('none of the option files has a network_g')
    table, rows = [], [('option files', 'network_g', 'parameters', 'MACs', 'activations')]
    for network_opt, names in tqdm(networks, unit='network', leave=False):
        net = build_untrained(network_opt, f'option file {names[0]}')
        cost = complexity(net, (channels_of(net, network_opt), *args.size))
        names.sort(key=lambda v: not v.startswith('train_'))
        shown = names[0] + (f' and {len(names) - 1} more' if len(names) > 1 else '')
        table.append((shown, network_opt['type'], cost.parameters, cost.macs / 1e9, cost.activations / 1e6))
        rows.append((' '.join(names), dict(network_opt), *cost))
    head = ('option files', 'type', 'parameters', f'GMACs ({args.size[1]}x{args.size[0]})', 'activations (M)')
    print(tabulate(table, head, tablefmt='github', intfmt=',', floatfmt='.3f'))
    if args.csv:
        with open(args.csv, 'w', encoding='utf-8', newline='') as f:
            csv.writer(f).writerows(rows)
        print(f'wrote {args.csv}', file=sys.stderr)


if __name__ == '__main__':
    run_command(main)
