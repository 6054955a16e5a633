"""Cases of the benchmark: which jobs are compared, and the targets."""
from dataclasses import dataclass, replace

from .jobs import (CONVOLUTIONS, ENGINES, OURS, OURS_COMPILED, OURS_DEPLOY, OURS_RECOMPUTE, PEAK, PLAIN, PLAIN_COMPILED,
                   PLAIN_LAST, Job)

# (network, task) -> shape of the input, and shape with --quick
SHAPES = {
    ('memnet', 'infer'): ((1, 1, 321, 481), (1, 1, 24, 32)),
    ('memnet', 'train'): ((16, 1, 31, 31), (2, 1, 11, 11)),
    ('bundled', 'infer'): ((1, 3, 512, 512), (1, 3, 24, 32)),  # a tile of memnet-restore
    ('bundled', 'train'): ((8, 3, 64, 64), (2, 3, 12, 12)),
    ('memorynet', 'infer'): ((1, 3, 256, 256), (1, 3, 32, 32)),
    ('memorynet', 'train'): ((2, 3, 128, 128), (1, 3, 16, 16))
}
GROWTH_SIZES = ((128, 128), (256, 256), (512, 512), (720, 1280))
GROWTH_BATCHES = (0.5, 1, 2, 4)  # factors of the batch size above
PLAIN_PIXELS = 512 * 512  # plain networks are not measured on larger images, which take several GB and a minute each
TILE = 256

# (network, task) -> target ratios on two CPU cores: time in fp32 and bf16 and memory in fp32, each to the plain network
# in fp32, and time to the convolutions alone; those that are left out have no target
TARGETS = {
    ('memnet', 'infer'): dict(fp32=0.30, bf16=0.12, memory=0.35, convolutions=1.5),
    ('memnet', 'train'): dict(fp32=0.70, bf16=0.30, memory=0.45),
    ('bundled', 'infer'): {},
    ('bundled', 'train'): dict(convolutions=1 / 0.75),
    ('memorynet', 'infer'): dict(fp32=0.80, bf16=0.47, memory=0.5, convolutions=1.2),
    ('memorynet', 'train'): dict(fp32=0.85, bf16=0.55, memory=0.5)
}
ALTERNATIVES = 0.8  # target ratio to the fastest optimization of the plain network
GPU_TRAINING = round(1 / 1.5, 3)  # target ratio of MemNet's training step to the plain one, bf16 and torch.compile


@dataclass(frozen=True)
class Case:
    """Jobs that are measured in turns; for the arguments see :class:`Job`."""
    network: str
    task: str
    memory: str
    jobs: tuple

    @property
    def title(self):
        n, _, height, width = self.jobs[0].shape
        memory = f' (memory: {self.memory})' if self.network == 'memorynet' else ''
        name = {'memnet': 'MemNet', 'bundled': 'Bundled MemNet', 'memorynet': 'MemoryNet'}[self.network]
        size = f'{height}x{width}' if self.task == 'infer' else f'{n} of {height}x{width}'
        return f'{name}{memory} {"inference" if self.task == "infer" else "training step"}, {size}'

    @property
    def targets(self):
        wanted = 'released' if self.network == 'memorynet' else 'none'
        return TARGETS[self.network, self.task] if self.memory == wanted else None


def make_cases(reference, networks, tasks, precisions, device, threads, quick=False, with_compile=False,
               with_engines=False, only=None):  # yapf: disable
    """Make the cases (list[Case]) of the benchmark on one device.

    ``networks``, ``tasks`` and ``precisions`` list what to measure, ``only`` the forms. The first job of each case is
    the plain network in fp32, unless ``only`` leaves it out. For the other arguments see :class:`Job`.
    """
    cases = []
    for network in networks:
        for task in tasks:
            for memory in _memories(network, task):
                forms = [PLAIN, PLAIN_LAST]
                forms += [PLAIN_COMPILED] * with_compile
                # On a CPU only the plain network is compiled, because compilation takes minutes.
                forms += [OURS] + [OURS_COMPILED] * (with_compile and device != 'cpu')
                if task == 'train':
                    forms += [OURS_RECOMPUTE] * (network == 'memorynet')
                else:
                    forms.append(OURS_DEPLOY)
                engines = [*ENGINES] if with_engines and task == 'infer' else []
                forms += [*engines, CONVOLUTIONS, PEAK]
                if network == 'memorynet' and memory != 'released':
                    forms = [v for v in forms if v in (PLAIN, OURS, OURS_DEPLOY)]
                forms = [v for v in forms if only is None or v in only]
                job = Job(network, task, PLAIN, 'fp32', SHAPES[network, task][quick], reference, memory, quick,
                          device=device, threads=threads)  # yapf: disable
                jobs = [
                    replace(job, form=form, precision=v) for v in precisions if engines or v != 'int8' for form in forms
                    if v in _precisions(form)
                ]
                if only is None and job not in jobs:  # all ratios refer to it
                    jobs.insert(0, job)
                cases.append(Case(network, task, memory, tuple(jobs)))
    return cases


def _precisions(form):
    if form == PEAK:
        return ('fp32', 'bf16', 'int8')
    return {
        'onnxruntime': ('fp32', 'int8'),
        'openvino': ('fp32', 'bf16', 'int8'),
        None: ('fp32', 'bf16')
    }[ENGINES.get(form)]


def _memories(network, task):
    if network != 'memorynet':
        return ['none']
    return ['released', 'none', 'feature'] if task == 'infer' else ['released']


def growth_cases(reference, networks, tasks, device, threads, quick=False):
    """Make the cases of growing images and batches in fp32, for the plain network and our fastest form.

    The largest image is also measured in tiles. For the arguments see :func:`make_cases`.
    """
    cases = []
    for network in networks:
        memory = 'released' if network == 'memorynet' else 'none'
        for task in tasks:
            batch, channels, height, width = SHAPES[network, task][quick]
            ours = OURS_DEPLOY if task == 'infer' else OURS
            if task == 'infer':
                shrink = 64 if quick else 8  # the plain MemoryNet requires multiples of 8
                shapes = [(1, channels, h // shrink * 8, w // shrink * 8) for h, w in GROWTH_SIZES]
            else:
                shapes = [(round(batch * v), channels, height, width) for v in GROWTH_BATCHES if batch * v >= 1]
            for shape in shapes:
                job = Job(network, task, ours, 'fp32', shape, reference, memory, quick, None, device, threads)
                jobs = [job]
                if shape[2] * shape[3] <= PLAIN_PIXELS:
                    jobs.insert(0, replace(job, form=PLAIN))
                if task == 'infer' and shape == shapes[-1]:
                    jobs.append(replace(job, tile=TILE))
                cases.append(Case(network, task, memory, tuple(jobs)))
    return cases


def find(results, form, precision):
    """Return the result of a form, or None if it was not measured."""
    return next((v for v in results if v.job.form == form and v.job.precision == precision and not v.skipped), None)


def verdicts(case, results):
    """Compare the results of a case with its targets.

    Returns:
        list[tuple]: (name, measured ratio, target ratio); ratios that were not measured are left out.
    """
    targets = case.targets
    if targets is None:
        return []
    if results[0].job.device != 'cpu':
        ours, plain = (find(results, v, 'bf16') for v in (OURS_COMPILED, PLAIN_COMPILED))
        if (case.network, case.task) != ('memnet', 'train') or not (ours and plain):
            return []
        return [('time, bf16, both with torch.compile, to plain', ours.median / plain.median, GPU_TRAINING)]
    best = OURS_DEPLOY if any(v.job.form == OURS_DEPLOY for v in results) else OURS
    small = OURS_RECOMPUTE if any(v.job.form == OURS_RECOMPUTE for v in results) else best
    plain, rows = find(results, PLAIN, 'fp32'), []
    for precision in ('fp32', 'bf16'):
        ours = find(results, best, precision)
        if not ours:
            continue
        if precision in targets and plain:
            rows.append((f'time, {best}, {precision}, to plain fp32', ours.median / plain.median, targets[precision]))
        plain_engines = [v for v in ENGINES if v.startswith('plain')]
        others = [find(results, v, precision) for v in (PLAIN_LAST, PLAIN_COMPILED, *plain_engines)]
        fastest = min((v for v in others if v), key=lambda v: v.median, default=None)
        if fastest:
            label = f'time, {best}, {precision}, to the fastest other ({fastest.job.form})'
            rows.append((label, ours.median / fastest.median, ALTERNATIVES))
    ours = find(results, small, 'fp32')
    if ours and plain and 'memory' in targets:
        rows.append((f'memory, {small}, fp32, to plain fp32', ours.peak / plain.peak, targets['memory']))
    for precision in ('fp32', 'bf16') if 'convolutions' in targets else ():
        ours, convolutions = find(results, best, precision), find(results, CONVOLUTIONS, precision)
        if ours and convolutions:
            label = f'time, {best}, {precision}, to the convolutions alone'
            rows.append((label, ours.median / convolutions.median, targets['convolutions']))
    return rows + engine_verdicts(results)


def engine_verdicts(results):
    """The best of our forms against OpenVINO on the plain graph, which a user gets by one pip install."""
    rows, ours = [], {}
    for precision in ('fp32', 'bf16', 'int8'):
        forms = [OURS_DEPLOY, *(v for v in ENGINES if v.startswith('ours'))]
        found = [v for v in (find(results, form, precision) for form in forms) if v]
        rival = find(results, 'plain, OpenVINO', precision)
        if not found:
            continue
        ours[precision] = best = min(found, key=lambda v: v.median)
        if rival and precision != 'int8':
            label = f'best backend ({best.job.form}), {precision}, to plain, OpenVINO'
            rows.append((f'time, {label}', best.median / rival.median, 0.85))
            rows.append((f'memory, {label}', best.peak / rival.peak, 0.4))
    torch_form, rival = find(results, OURS_DEPLOY, 'bf16'), find(results, 'plain, OpenVINO', 'bf16')
    if torch_form and rival:
        rows.append((f'time, {OURS_DEPLOY}, bf16, to plain, OpenVINO', torch_form.median / rival.median, 1.))
    if 'int8' in ours and 'bf16' in ours:
        ratio = ours['int8'].median / ours['bf16'].median
        rows.append((f'time, best int8 ({ours["int8"].job.form}), to the best bf16', ratio, 0.6))
    return rows
