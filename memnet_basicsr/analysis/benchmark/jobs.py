"""What the benchmark measures. Each job is prepared and run in a process of its own, see benchmark_process.py."""
import importlib.util
import io
import math
import torch
import warnings
from dataclasses import dataclass
from os import path as osp
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from ... import fast
from ...archs.memnet_arch import MemNet
from ...archs.memorynet_arch import MemoryNet
from ...errors import UsageError
from ...fast.heap_util import give_back_memory, keep_freed_memory
from ...inference import Inference

PLAIN, PLAIN_LAST = 'plain', 'plain, channels_last'
PLAIN_COMPILED, PLAIN_ONNX = 'plain, torch.compile', 'plain, ONNX Runtime'
OURS, OURS_DEPLOY, OURS_RECOMPUTE = 'ours', 'ours, deploy', 'ours, recompute'
OURS_COMPILED = 'ours, torch.compile'
CONVOLUTIONS = 'convolutions alone'
OPTIONAL = (PLAIN_COMPILED, PLAIN_ONNX, OURS_COMPILED)  # may be impossible here: skipped with the reason

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}
NARROW = {
    'memnet': dict(num_feat=8, num_block=2, num_recursion=2),
    'memorynet': dict(num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1)
}
REFERENCES = {'memnet': ('memnet_plain.py', 'PlainMemNet'), 'memorynet': ('memorynet_plain.py', 'MemoryNetPlain')}

aten = torch.ops.aten


@dataclass(frozen=True)
class Job:
    """One thing to measure.

    Args:
        network (str): 'memnet' (M6R6) or 'memorynet'.
        task (str): 'infer' or 'train'.
        form (str): One of the forms above.
        precision (str): 'fp32' or 'bf16'.
        shape (tuple[int]): Input, (n, c, h, w).
        reference (str): Folder of the plain networks (tests/reference of a clone).
        memory (str): MemoryNet's memory; the plain network has 'none' and 'released'. Default: 'none'.
        narrow (bool): Take narrow networks. Default: False.
        tile (int | None): Side of the tiles in pixels; None for the whole picture. Default: None.
        device (str): Where to compute. Default: 'cpu'.
        threads (int): Of torch and ONNX Runtime. Default: 1.
    """
    network: str
    task: str
    form: str
    precision: str
    shape: tuple
    reference: str
    memory: str = 'none'
    narrow: bool = False
    tile: int | None = None
    device: str = 'cpu'
    threads: int = 1


def prepare(job):
    """Build what a job needs.

    Args:
        job (Job): The job.

    Returns:
        Callable: Runs it once.

    Raises:
        UsageError: The job is impossible here.
    """
    torch.manual_seed(0)
    if job.form == CONVOLUTIONS:
        return _convolutions_run(job)
    if job.form == PLAIN_ONNX:
        return _onnx_run(job)
    run = _training_run(job) if job.task == 'train' else _inference_run(job)
    if job.form in (PLAIN_COMPILED, OURS_COMPILED):
        for _ in range(2):  # compiling is part of building
            run()
        give_back_memory()
    return run


def load_plain(network, folder):
    """Class of a plain network.

    Args:
        network (str): 'memnet' or 'memorynet'.
        folder (str): tests/reference of a clone.

    Raises:
        UsageError: If it is not there.
    """
    name, cls = REFERENCES[network]
    path = osp.join(folder, name)
    if not osp.isfile(path):
        raise UsageError(f'{path} is missing: the plain networks to compare with are in a clone of the repository '
                         'alone (git clone), run its scripts/benchmark.py')
    spec = importlib.util.spec_from_file_location(name[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, cls)


def build_network(job):
    """The network of a job, in training mode, on the CPU."""
    options = dict(NARROW[job.network]) if job.narrow else {}
    if job.network == 'memorynet':
        options['memory'] = job.memory
    if job.form in (OURS, OURS_DEPLOY, OURS_RECOMPUTE, OURS_COMPILED):
        net = (MemNet if job.network == 'memnet' else MemoryNet)(**options)
        return fast.training(net, recompute=job.form == OURS_RECOMPUTE)
    if job.memory == 'feature':
        options['memory'] = 'none'  # the plain network does not have it: the backbone is what to compare with
    return load_plain(job.network, job.reference)(**options)


def _place(net, job):
    """Put the network and a function that makes an input where and as the form has it."""
    # on a CPU our networks choose their layout; on a GPU that is the caller's choice
    last = job.form in (PLAIN_LAST, PLAIN_COMPILED) or (job.device != 'cpu' and job.form.startswith('ours'))
    layout = {'memory_format': torch.channels_last} if last else {}
    return net.to(job.device, **layout), torch.rand(job.shape).to(job.device, **layout)


def _inference_run(job):
    net = build_network(job).eval()
    if job.form == OURS_DEPLOY:
        net = fast.inference(net)
    net, x = _place(net, job)
    dtype = DTYPES[job.precision]
    net = net.to(dtype)  # for all forms alike; autocast would convert the weights at every call
    if job.form != OURS_DEPLOY:  # it takes the picture as it is, whatever it computes in
        x = x.to(dtype)
    if job.form in (PLAIN_COMPILED, OURS_COMPILED):
        net = torch.compile(net)
    inference = None if job.tile is None else Inference(tile=job.tile, tile_overlap=min(32, job.tile // 2))

    def run():
        with torch.no_grad():
            return net(x) if inference is None else inference(net, x)

    return run


def _training_run(job):
    importlib.import_module(
        'torch._dynamo')  # the optimizer imports it in its first step: that is not the step's memory
    net, x = _place(build_network(job), job)
    if job.device == 'cpu' and job.form in (OURS, OURS_RECOMPUTE):
        keep_freed_memory()  # as RestorationModel does
    gt = torch.rand_like(x)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-4)
    forward = torch.compile(net) if job.form in (PLAIN_COMPILED, OURS_COMPILED) else net

    def run():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=job.precision == 'bf16'):
            outputs = forward(x)
            loss = sum((v.float() - gt).square().mean() for v in outputs)
        loss.backward()
        optimizer.step()

    return run


class FirstOutput(nn.Module):
    """Of a network's outputs the first, the result."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)[0]


def _onnx_run(job):
    if job.precision != 'fp32' or job.device != 'cpu':
        raise UsageError('measured in fp32 on the CPU alone')
    try:
        import onnx  # noqa: F401  (torch's exporter needs it)
        import onnxruntime
    except ImportError as error:
        raise UsageError(f'{error.name} is not installed') from None
    x = torch.rand(job.shape)
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter('ignore')
        net = FirstOutput(build_network(job)).eval()
        torch.onnx.export(net, (x, ), buffer, input_names=['lq'], opset_version=17, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = job.threads
    session = onnxruntime.InferenceSession(buffer.getvalue(), options, providers=['CPUExecutionProvider'])
    del net, buffer
    give_back_memory()
    inputs = {'lq': x.numpy()}
    return lambda: session.run(None, inputs)


class ConvolutionLog(TorchDispatchMode):
    """While open, notes every convolution and every backward pass of one, with the shapes that it meets."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (aten.convolution.default, aten.convolution_backward.default):
            self.calls.append((func, [v.shape if isinstance(v, torch.Tensor) else v for v in args]))
        return func(*args, **(kwargs or {}))


def executed_convolutions(job):
    """All convolutions that the plain network of a job executes, in the order of their execution.

    The network runs on the meta device, which knows shapes alone.

    Args:
        job (Job): Network, task and shape.

    Returns:
        list[tuple]: (operator of aten, its arguments with ``torch.Size`` in place of tensors).
    """
    net = build_network(job).to('meta')
    x = torch.empty(job.shape, device='meta')
    with ConvolutionLog() as log:
        if job.task == 'train':
            sum(v.mean() for v in net(x)).backward()
        else:
            with torch.no_grad():
                net.eval()(x)
    return log.calls


def multiplications(calls):
    """Multiplications of forward convolutions.

    Args:
        calls (list[tuple]): Result of :func:`executed_convolutions` for inference, of convolutions with stride 1 that
            keep the size of their input.

    Returns:
        int: Number.
    """
    return sum(shape[0] * math.prod(shape[2:]) * math.prod(weight) for _, (shape, weight, *_) in calls)


def _convolutions_run(job):
    """All convolutions of the plain network in channels_last, on memory that is there already."""
    dtype = DTYPES[job.precision]
    calls = executed_convolutions(job)
    # of the tensors of a call, pictures come first: one in the forward, two (gradient and input) in the backward pass
    pictures = {aten.convolution.default: 1, aten.convolution_backward.default: 2}
    largest = [max((math.prod(args[i]) for func, args in calls if i < pictures[func]), default=0) for i in range(2)]
    buffers = [torch.rand(v, device=job.device, dtype=dtype) for v in largest]

    def tensor(shape, buffer):
        n, c, *size = shape
        flat = buffer[:math.prod(shape)] if buffer is not None else torch.rand(math.prod(shape), device=job.device)
        return flat.to(dtype).view(n, *size, c).movedim(-1, 1)  # channels_last

    ready = []
    for func, args in calls:
        args = [
            v if not isinstance(v, torch.Size) else torch.rand(v, device=job.device).to(dtype)
            if len(v) == 1 else tensor(v, buffers[i] if i < pictures[func] else None) for i, v in enumerate(args)
        ]
        ready.append((func, args))

    def run():
        with torch.no_grad():
            for func, args in ready:
                func(*args)

    return run
