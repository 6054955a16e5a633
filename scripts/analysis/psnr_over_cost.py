"""PSNR over parameters and over seconds per picture, for several configurations.

Example (runs as folders, as checkpoints in them, or as the option files they were started with):

    python scripts/analysis/psnr_over_cost.py --runs experiments/train_MemNet_Denoise_BSD \
        options/ablation/train_MemNet_Denoise_BSD_M4R6.yml --dataset BSD68_sigma50 --output cost.png

PSNR comes from the runs' metrics.jsonl; seconds are measured here, on random pictures, the networks in turns. Weights
do not matter for them. You see a line per run:

    train_MemNet_Denoise_BSD   26.20 dB (iteration 200000)   695,497 parameters   4.31 s (4.25..4.60)
"""
import argparse
import numpy as np
import torch

import memnet_basicsr  # noqa: F401  (registers the networks)
from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.analysis.cost import num_parameters, seconds_per_picture
from memnet_basicsr.analysis.drawing import check_output, draw_costs, write_figure
from memnet_basicsr.analysis.networks import choose_device
from memnet_basicsr.analysis.runs import read_run
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.restorer import input_channels
from memnet_basicsr.inference.weights import build_untrained


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', required=True, nargs='+', help="folders of runs, checkpoints in them, option files")
    parser.add_argument('--output', required=True, help='PNG file to write')
    parser.add_argument('--experiments', default='experiments', help='where the runs of option files lie')
    parser.add_argument('--dataset', help='validation set. Default: the only one')
    parser.add_argument('--metric', default='psnr', help='name of the metric in the option files. Default: psnr')
    parser.add_argument('--size', type=int, nargs=2, default=(321, 481), help='picture in pixels. Default: 321 481')
    parser.add_argument('--repeats', type=int, default=5, help='measurements of each. Default: 5')
    parser.add_argument('--device', help='where to compute. Default: the GPU where there is one')
    args = parser.parse_args(args)

    check_output(args.output)
    if min(*args.size, args.repeats) < 1:
        raise UsageError(f'--size {args.size} and --repeats {args.repeats} must be positive')
    device = choose_device(args.device)
    runs = [read_run(v, args.experiments, args.dataset, args.metric) for v in args.runs]
    datasets = sorted({run.dataset for run in runs})
    if len(datasets) > 1:
        raise UsageError(f'--runs: their figures are of different data sets, {", ".join(datasets)}; give --dataset')
    nets = [build_untrained(run.network_g, f'run {run.name}') for run in runs]
    lqs = [torch.rand(1, input_channels(net, run.network_g), *args.size) for net, run in zip(nets, runs)]
    costs = []
    for run, net, seconds in zip(runs, nets, seconds_per_picture(nets, lqs, args.repeats, device)):
        costs.append((f'{run.name} (iteration {run.iteration})', run.value, num_parameters(net), seconds))
        print(f'{run.name}   {run.value:.2f} dB (iteration {run.iteration})   {num_parameters(net):,} parameters   '
              f'{np.median(seconds):.3g} s ({seconds[0]:.3g}..{seconds[-1]:.3g})')
    where = torch.cuda.get_device_name(device) if device.type == 'cuda' else f'CPU (threads: {torch.get_num_threads()})'
    title = f'{datasets[0]}; seconds for {args.size[1]} x {args.size[0]} pixels on {where}'
    write_figure(draw_costs(costs, title), args.output)
    print(f'wrote {args.output}')


if __name__ == '__main__':
    run_command(main)
