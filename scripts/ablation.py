"""Train variants under the same budget with several seeds, and compare them in a table and a plot.

    python scripts/ablation.py options/ablation/memory_RICE1.yml --seeds 5 --jobs 2 --baseline widened \
        --output results/ablation

Files are option files or plans. A plan names one option file and the changes of each variant. Variants of a plan are
compared with each other, and so are all option files. Each run is a process of `python -m memnet_basicsr.train` on the
CPU with --threads threads; its option file is in <output>/runs.

Shows a progress bar, and at the end the table, which is also written to results/ablation/<plan>.md, with a plot in
<plan>.png. Safe to interrupt and repeat: finished runs are kept and interrupted runs resume. The table includes all
finished runs of the files, so a second call can add seeds to some variants:

    python scripts/ablation.py options/ablation/memory_RICE1.yml --seeds 3 --baseline widened --output results/ablation
    python scripts/ablation.py options/ablation/memory_RICE1.yml --seeds 5 --baseline widened \
        --output results/ablation --variants widened memory

Seeds are 0, 1, ...; all variants of a seed see the same images in the same order. The exit code is 1 if a run failed.
"""
import os
import sys
from os import path as osp

import memnet_basicsr  # noqa: F401  (patches BasicSR, so it must be imported first)
from memnet_basicsr.analysis.ablation.plan import options_of_run, read_variants
from memnet_basicsr.analysis.ablation.report import draw, find_baseline, read_row, table
from memnet_basicsr.analysis.ablation.runs import Run, train_all
from memnet_basicsr.analysis.command import make_parser, run_command
from memnet_basicsr.analysis.drawing import write_figure
from memnet_basicsr.atomic_file import write_atomically
from memnet_basicsr.errors import UsageError, near

MOST_SEEDS = 100


def report(group, variants, runs, baseline, output):
    """Write table and plot of a group of variants; ``runs`` maps a variant to its runs. Return the table."""
    rows = [read_row(v, runs(v)) for v in variants]
    if not any(row.runs for row in rows):
        return f'{group}: no finished run\n'
    first = find_baseline(rows, baseline)
    if not first.runs:
        return f'{group}: no finished run of the baseline {first.label}, so nothing can be compared\n'
    text = table(group, rows, first)
    write_atomically(osp.join(output, f'{group}.md'), text.encode())
    write_figure(draw(group, rows, first), osp.join(output, f'{group}.png'))
    return text


def main(args=None):
    parser = make_parser(__doc__)
    parser.add_argument('files', nargs='+', metavar='FILE', help='option files and plans')
    parser.add_argument('--output', required=True, help='folder for the runs, the table and the plot')
    parser.add_argument('--seeds', type=int, default=3, help='runs of each variant. Default: 3')
    parser.add_argument(
        '--iterations', type=int, help="iterations of each run; schedules are scaled. Default: total_iter of the file")
    parser.add_argument('--baseline', required=True, help='label, or end of the label, of the variant to compare with')
    parser.add_argument('--variants', nargs='+', help='train only these variants. Default: all')
    parser.add_argument('--jobs', type=int, default=1, help='concurrent runs. Default: 1')
    parser.add_argument('--threads', type=int, default=1, help='threads of each run. Default: 1')
    parser.add_argument('--overwrite', action='store_true', help='restart runs whose options have changed')
    args = parser.parse_args(args)
    for name in ('seeds', 'iterations', 'jobs', 'threads'):
        value = getattr(args, name)
        if value is not None and not 1 <= value <= (MOST_SEEDS if name == 'seeds' else value):
            raise UsageError(f'--{name} {value}: must be at least 1 (--seeds: at most {MOST_SEEDS})')
    variants = read_variants(args.files)
    for label in args.variants or ():
        if label not in {v.label for v in variants}:
            raise UsageError(f'--variants {label}: does not exist{near(label, {v.label for v in variants})}')
    groups = {v.group: [w for w in variants if w.group == v.group] for v in variants}

    def run_of(variant, seed):
        return Run(variant.run_name(seed), options_of_run(variant, seed, args.iterations), args.output)

    def started(variant):
        return {seed: run_of(variant, seed) for seed in range(MOST_SEEDS)
                if osp.isfile(osp.join(args.output, 'runs', f'{variant.run_name(seed)}.json'))}  # yapf: disable

    # Seeds in the outer loop, so that an early table already compares all variants.
    wanted = [run_of(v, seed) for seed in range(args.seeds) for v in variants
              if not args.variants or v.label in args.variants]  # yapf: disable
    os.makedirs(args.output, exist_ok=True)
    failed = train_all(wanted, args.jobs, args.threads, args.overwrite)
    for group, members in groups.items():
        print(report(group or 'ablation', members, started, args.baseline, args.output))
    print(f'wrote tables and plots to {args.output}; {len(wanted) - len(failed)} of {len(wanted)} runs are finished')
    for name, text in failed.items():
        print(f'failed: {name}: {text}', file=sys.stderr)
    return 1 if failed else 0


if __name__ == '__main__':
    run_command(main)
