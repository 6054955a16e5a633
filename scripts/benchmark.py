"""Time and peak memory of MemNet and MemoryNet against plain implementations, the convolutions alone and others.

Example, from a clone (the plain networks are in tests/reference), on a machine that does nothing else:

    python scripts/benchmark.py --compile --onnx --output benchmark

Every job has a process of its own; jobs of a case run in turns. You see Markdown: where it was measured, a row per job

    | MemNet inference, 321x481 | ours, deploy | fp32 | 3.5 | 0.259 | 0.259 | 1.25 | 310.3 | 0.153 |

and the figures to reach. --output writes the same to benchmark.md, and bars to benchmark_<device>.png; with the same
folder a benchmark that was stopped goes on where it was (remove benchmark.json to measure again). --growth adds
larger pictures and batches, --pipeline whether reading an LMDB (scripts/data_preparation/create_lmdb.py makes one)
keeps up with training.
"""
import argparse
import os
import sys
import torch
from os import path as osp

from memnet_basicsr.analysis.benchmark import pipeline as benchmark_pipeline
from memnet_basicsr.analysis.benchmark.jobs import load_plain
from memnet_basicsr.analysis.benchmark.report import (COLUMNS, GROWTH_COLUMNS, VERDICT_COLUMNS, draw, growth_rows,
                                                      header, rows_of, table, verdict_rows)
from memnet_basicsr.analysis.benchmark.store import Store
from memnet_basicsr.analysis.benchmark.suite import growth_cases, make_cases
from memnet_basicsr.analysis.drawing import write_figure
from memnet_basicsr.atomic_file import write_atomically
from memnet_basicsr.errors import UsageError

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
REFERENCE = osp.join(ROOT, 'tests', 'reference')


def parse(args):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', help='folder for benchmark.md and benchmark_<device>.png')
    parser.add_argument('--only', choices=('memnet', 'memorynet'), help='one network. Default: both')
    parser.add_argument('--task', choices=('infer', 'train'), help='one task. Default: both')
    parser.add_argument(
        '--precision', nargs='+', choices=('fp32', 'bf16'), default=['fp32', 'bf16'], help='Default: both')
    parser.add_argument('--device', nargs='+', choices=('cpu', 'cuda'), help='Default: the CPU, and the GPU if any')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='Default: %(default)s')
    parser.add_argument('--repetitions', type=int, default=3, help='of each job. Default: %(default)s')
    parser.add_argument('--compile', action='store_true', help='also with torch.compile (minutes more)')
    parser.add_argument('--onnx', action='store_true', help='also with ONNX Runtime (fp32, CPU)')
    parser.add_argument('--growth', action='store_true', help='also larger pictures and batches (one repetition)')
    parser.add_argument('--pipeline', metavar='LMDB', help='also whether reading this LMDB keeps up with training')
    parser.add_argument(
        '--pipeline-opt',
        metavar='YML',
        default=osp.join(ROOT, 'options', 'train_MemNet_Denoise_BSD.yml'),
        help='training options for --pipeline. Default: options/train_MemNet_Denoise_BSD.yml')
    parser.add_argument('--quick', action='store_true', help='narrow networks, small pictures: does it run?')
    args = parser.parse_args(args)
    if min(args.threads, args.repetitions) < 1:
        raise UsageError(f'--threads {args.threads} and --repetitions {args.repetitions} must be positive')
    if args.device is None:
        args.device = ['cpu'] + ['cuda'] * torch.cuda.is_available()
    if 'cuda' in args.device and not torch.cuda.is_available():
        raise UsageError('--device cuda: torch finds no GPU here')
    if args.output:
        os.makedirs(args.output, exist_ok=True)
    return args


class Report:
    """Markdown on the screen, as it comes into being."""

    def __init__(self):
        self.lines = []

    def add(self, *lines):
        self.lines += lines
        print(*lines, sep='\n', flush=True)

    def section(self, title, columns, rows=()):
        self.add('', f'## {title}', '', *table(columns, rows))

    def rows(self, rows):
        self.add(*table((), rows)[2:])


def main(args=None):
    args = parse(args)
    networks = [args.only] if args.only else ['memnet', 'memorynet']
    tasks = [args.task] if args.task else ['infer', 'train']
    for network in networks:
        load_plain(network, REFERENCE)
    torch.set_num_threads(args.threads)
    report, figures = Report(), {}
    store = Store(osp.join(args.output, 'benchmark.json') if args.output else None)
    report.add('# Benchmark', '', *header(args.threads, args.device, args.repetitions, args.quick))
    for device in args.device:
        report.section(f'Time and memory ({device})', COLUMNS)
        measured = []
        for case in make_cases(REFERENCE, networks, tasks, args.precision, device, args.threads, args.quick,
                               args.compile, args.onnx):  # yapf: disable
            measured.append((case, store.measure(case, args.repetitions, args.quick)))
            report.rows(rows_of(*measured[-1]))
        shown = [v for v in measured if v[0].network == 'memnet' or v[0].memory == 'released']
        figures[device] = draw(shown, f'Time and memory ({device}); dashed: to reach')
        verdicts = verdict_rows(measured)
        if verdicts and not args.quick:
            report.section(f'Figures to reach ({device})', VERDICT_COLUMNS, verdicts)
        if args.growth:
            report.section(f'Growth ({device}, fp32)', GROWTH_COLUMNS)
            for case in growth_cases(REFERENCE, networks, tasks, device, args.threads, args.quick):
                report.rows(growth_rows(case, store.measure(case, 1, args.quick)))
        if args.pipeline:
            rows = benchmark_pipeline.measure_pipeline(args.pipeline, args.pipeline_opt, device, args.quick)
            report.section(f'Pipeline ({device})', benchmark_pipeline.COLUMNS, benchmark_pipeline.rows_of(rows))
    if args.output:
        write_atomically(osp.join(args.output, 'benchmark.md'), ('\n'.join(report.lines) + '\n').encode())
        for device, figure in figures.items():
            write_figure(figure, osp.join(args.output, f'benchmark_{device}.png'))
        print(f'\nwrote {args.output}', file=sys.stderr)


if __name__ == '__main__':
    try:
        main()
    except (UsageError, OSError) as error:
        sys.exit(f'benchmark: {error}')
