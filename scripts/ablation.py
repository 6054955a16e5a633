"""Train variants under one budget with several seeds, and write a table and a plot of what differs between them.

    python scripts/ablation.py options/ablation/memory_RICE1.yml --seeds 5 --jobs 2 --baseline widened \
        --output results/ablation

You see a progress bar with the time left, and at the end the table, which results/ablation/<plan>.md holds; the plot is
<plan>.png beside it. Files are option files, or plans (one option file and what is different in each variant); those of
a plan are compared with each other, and so are all the option files. Each run is a process of
`python -m memnet_basicsr.train` in the output folder, on the CPU with --threads threads, and an option file of its own
in <output>/runs. Safe to stop and to run again: finished runs are kept, the interrupted ones go on. The table takes in
all finished runs of these files, so that some variants can be given more seeds by a second call:

    python scripts/ablation.py options/ablation/memory_RICE1.yml --seeds 3 --baseline widened --output results/ablation
    python scripts/ablation.py options/ablation/memory_RICE1.yml --seeds 5 --baseline widened \
        --output results/ablation --variants widened memory

Seeds are 0, 1, ...; a seed gives all variants the same pictures in the same order. The exit code is 1 if a run failed.
"""
import argparse
import os
import sys
from os import path as osp

import memnet_basicsr  # noqa: F401  (BasicSR imports only behind it)
from memnet_basicsr.analysis.ablation.plan import options_of_run, read_variants
from memnet_basicsr.analysis.ablation.report import draw, find_baseline, read_row, table
from memnet_basicsr.analysis.ablation.runs import Run, train_all
from memnet_basicsr.analysis.drawing import write_figure
from memnet_basicsr.atomic_file import write_atomically
from memnet_basicsr.errors import UsageError, near

MOST_SEEDS = 100


def report(group, variants, runs, baseline, output):
    """Write table and plot of a group, of the runs that runs(variant) gives; return the table."""
    rows = [read_row(v, runs(v)) for v in variants]
    if not any(row.runs for row in rows):
        return f'{group}: no run is finished\n'
    first = find_baseline(rows, baseline)
    if not first.runs:
        return f'{group}: no run of the baseline {first.label} is finished, so nothing can be compared\n'
    text = table(group, rows, first)
    write_atomically(osp.join(output, f'{group}.md'), text.encode())
    write_figure(draw(group, rows, first), osp.join(output, f'{group}.png'))
    return text


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('files', nargs='+', metavar='FILE', help='option files of trainings, and plans')
    parser.add_argument('--output', required=True, help='folder of the runs, the table and the plot')
    parser.add_argument('--seeds', type=int, default=3, help='trainings of each variant. Default: 3')
    parser.add_argument(
        '--iterations', type=int, help="length of each training; schedules are scaled. Default: the file's")
    parser.add_argument('--baseline', required=True, help='variant, or the end of its name, that all are compared to')
    parser.add_argument('--variants', nargs='+', help='train only these. Default: all')
    parser.add_argument('--jobs', type=int, default=1, help='trainings at once. Default: 1')
    parser.add_argument('--threads', type=int, default=1, help='threads of each training. Default: 1')
    parser.add_argument('--overwrite', action='store_true', help='train runs anew that were begun with other options')
    args = parser.parse_args(args)
    for name in ('seeds', 'iterations', 'jobs', 'threads'):
        value = getattr(args, name)
        if value is not None and not 1 <= value <= (MOST_SEEDS if name == 'seeds' else value):
            raise UsageError(f'--{name} {value}: must be 1 or more, seeds at most {MOST_SEEDS}')
    variants = read_variants(args.files)
    for label in args.variants or ():
        if label not in {v.label for v in variants}:
            raise UsageError(f'--variants: there is no variant {label}{near(label, {v.label for v in variants})}')
    groups = {v.group: [w for w in variants if w.group == v.group] for v in variants}

    def run_of(variant, seed):
        return Run(variant.run_name(seed), options_of_run(variant, seed, args.iterations), args.output)

    def begun(variant):
        return {seed: run_of(variant, seed) for seed in range(MOST_SEEDS)
                if osp.isfile(osp.join(args.output, 'runs', f'{variant.run_name(seed)}.json'))}  # yapf: disable

    # seeds outside: what is finished first can be compared already
    wanted = [run_of(v, seed) for seed in range(args.seeds) for v in variants
              if not args.variants or v.label in args.variants]  # yapf: disable
    os.makedirs(args.output, exist_ok=True)
    failed = train_all(wanted, args.jobs, args.threads, args.overwrite)
    for group, members in groups.items():
        print(report(group or 'ablation', members, begun, args.baseline, args.output))
    print(f'tables and plots are in {args.output}; {len(wanted) - len(failed)} of {len(wanted)} runs are finished')
    for name, text in failed.items():
        print(f'failed: {name}: {text}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except UsageError as error:
        sys.exit(f'Error: {error}')
    except KeyboardInterrupt:
        sys.exit('stopped; the same command goes on')
