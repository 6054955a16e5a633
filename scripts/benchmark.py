"""Compare time and peak memory of MemNet and MemoryNet with plain implementations and with their convolutions alone.

Run from a clone (the plain networks are in tests/reference) on an idle machine:

    python scripts/benchmark.py --compile --engines --output benchmark

Every job runs in its own process, and the jobs of a case run in turns. Prints Markdown: the machine, one row per job

    | MemNet inference, 321x481 | ours, deploy | fp32 | 3.5 | 7.0 | 0.259 | 0.259 | 1.25 | 95 | 0.8 | 310.3 | 0.153 |

and the targets. --output writes the same to benchmark.md, and every result to benchmark.json, from which an interrupted
benchmark continues (remove it to measure again). --growth adds larger images and batches. --pipeline measures training
as it is really run: whether reading an LMDB (see scripts/data_preparation/create_lmdb.py) keeps up, and a profile.
--packaged restores an image file, from reading to writing:

    python scripts/benchmark.py --only none --precision fp32 --packaged photo.png memnet_denoise_color CDnCNN-B CBM3D
"""
import os
import sys
import torch
from os import path as osp

from memnet_basicsr.analysis.benchmark import packaged, pipeline
from memnet_basicsr.analysis.benchmark.jobs import FORMS, load_plain
from memnet_basicsr.analysis.benchmark.report import (COLUMNS, GROWTH_COLUMNS, VERDICT_COLUMNS, growth_rows, header,
                                                      rows_of, verdict_rows)
from memnet_basicsr.analysis.benchmark.store import Store
from memnet_basicsr.analysis.benchmark.suite import growth_cases, make_cases
from memnet_basicsr.analysis.command import make_parser, markdown_table, run_command
from memnet_basicsr.atomic_file import write_atomically
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.backends import PRECISIONS

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
REFERENCE = osp.join(ROOT, 'tests', 'reference')
NETWORKS = ('memnet', 'bundled', 'memorynet')


def parse(args):
    parser = make_parser(__doc__)
    parser.add_argument('--output', help='folder for benchmark.md and benchmark.json')
    parser.add_argument('--only', choices=(*NETWORKS, 'none'), help='measure one network, or none. Default: all')
    parser.add_argument('--task', choices=('infer', 'train'), help='measure one task. Default: both')
    parser.add_argument(
        '--precision',
        nargs='+',
        choices=('fp32', 'bf16', 'int8'),
        default=['fp32', 'bf16', 'int8'],
        help='Default: all')
    parser.add_argument(
        '--forms', nargs='+', metavar='FORM', choices=FORMS, help='such as "ours, deploy". Default: all')
    parser.add_argument('--device', nargs='+', choices=('cpu', 'cuda'), help='Default: cpu, and cuda if available')
    parser.add_argument('--threads', type=int, default=torch.get_num_threads(), help='Default: %(default)s')
    parser.add_argument('--repetitions', type=int, default=3, help='timed runs of each job. Default: %(default)s')
    parser.add_argument('--compile', action='store_true', help='also measure torch.compile (takes minutes)')
    parser.add_argument(
        '--engines', action='store_true', help='also measure ONNX Runtime and OpenVINO (CPU; int8, too)')
    parser.add_argument(
        '--packaged',
        nargs='+',
        metavar=('IMAGE', 'NAME'),
        help='also restore this image with the bundled networks, CDnCNN-B, NLM, BM3D and CBM3D, or with those named')
    parser.add_argument(
        '--backends', nargs='+', choices=('torch', *PRECISIONS), help='for --packaged. Default: all that are installed')
    parser.add_argument('--growth', action='store_true', help='also measure larger images and batches, once each')
    parser.add_argument('--pipeline', metavar='LMDB', help='also profile training from this LMDB, as it is really run')
    parser.add_argument(
        '--pipeline-opt',
        metavar='YML',
        default=osp.join(ROOT, 'options', 'train_MemNet_ColorDenoise_BSD.yml'),
        help='option file for --pipeline. Default: options/train_MemNet_ColorDenoise_BSD.yml')
    parser.add_argument('--quick', action='store_true', help='only check that it runs: narrow networks, small images')
    args = parser.parse_args(args)
    if min(args.threads, args.repetitions) < 1:
        raise UsageError(f'--threads {args.threads} and --repetitions {args.repetitions} must be positive')
    if args.device is None:
        args.device = ['cpu'] + ['cuda'] * torch.cuda.is_available()
    if 'cuda' in args.device and not torch.cuda.is_available():
        raise UsageError('--device cuda: no GPU is available')
    if args.output:
        os.makedirs(args.output, exist_ok=True)
    return args


class Report:
    """Markdown that is printed as it grows."""

    def __init__(self):
        self.text = ''

    def add(self, *lines):
        text = '\n'.join(lines) + '\n'
        self.text += text
        print(text, end='', flush=True)

    def section(self, title, columns, rows):
        self.add('', f'## {title}', '', markdown_table(columns, rows))


def main(args=None):
    args = parse(args)
    networks = [v for v in NETWORKS if args.only in (None, v)]
    tasks = [args.task] if args.task else ['infer', 'train']
    for network in networks:
        load_plain(network, REFERENCE)
    torch.set_num_threads(args.threads)
    report = Report()
    store = Store(osp.join(args.output, 'benchmark.json') if args.output else None)
    report.add('# Benchmark', '', *header(args.threads, args.device, args.repetitions, args.quick))
    for device in args.device:
        cases = make_cases(REFERENCE, networks, tasks, args.precision, device, args.threads, args.quick, args.compile,
                           args.engines, args.forms)  # yapf: disable
        measured = [(case, store.measure(case, args.repetitions, args.quick)) for case in cases]
        if measured:
            report.section(f'Time and memory ({device})', COLUMNS, [row for v in measured for row in rows_of(*v)])
        verdicts = verdict_rows(measured)
        if verdicts and not args.quick:
            report.section(f'Targets ({device})', VERDICT_COLUMNS, verdicts)
        if args.growth:
            cases = growth_cases(REFERENCE, networks, tasks, device, args.threads, args.quick)
            rows = [row for case in cases for row in growth_rows(case, store.measure(case, 1, args.quick))]
            report.section(f'Growth ({device}, fp32)', GROWTH_COLUMNS, rows)
        if args.pipeline:
            speeds, shares = pipeline.measure_pipeline(args.pipeline, args.pipeline_opt, device, args.quick)
            report.section(f'Pipeline ({device})', pipeline.COLUMNS, pipeline.rows_of(speeds))
            report.section(f'Profile of the training step ({device})', pipeline.PROFILE_COLUMNS, shares)
    if args.packaged:
        image, *names = args.packaged
        precisions = [v for v in args.precision if v != 'int8']
        rows = packaged.packaged_rows(image, names or None, precisions, args.backends)
        report.section(f'Bundled networks (cpu, {osp.basename(image)})', packaged.COLUMNS, list(rows))
    if args.output:
        write_atomically(osp.join(args.output, 'benchmark.md'), report.text.encode())
        print(f'\nwrote {args.output}', file=sys.stderr)


if __name__ == '__main__':
    run_command(main)
