"""The jobs of the benchmark: networks and tasks to measure. Each job runs in its own process, see process.py."""
import importlib.util
import math
import torch
from dataclasses import dataclass, replace
from os import path as osp
from torch import nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from ... import fast
from ...archs.memnet_arch import MemNet
from ...archs.memorynet_arch import MemoryNet
from ...errors import UsageError
from ...fast.heap_util import give_back_memory, keep_freed_memory
from ...inference import Inference
from ...inference.backends import Engine, is_installed, not_installed
from ...inference.onnx_graph import to_onnx
from ...inference.quantize import quantize

PLAIN, PLAIN_LAST = 'plain', 'plain, channels_last'
PLAIN_COMPILED, PEAK = 'plain, torch.compile', 'matrix product'
OURS, OURS_DEPLOY, OURS_RECOMPUTE = 'ours', 'ours, deploy', 'ours, recompute'
OURS_COMPILED = 'ours, torch.compile'
CONVOLUTIONS = 'convolutions alone'
ENGINES = {
    'plain, ONNX Runtime': 'onnxruntime',
    'plain, OpenVINO': 'openvino',
    'ours, ONNX Runtime': 'onnxruntime',
    'ours, OpenVINO': 'openvino'
}
FORMS = (PLAIN, PLAIN_LAST, PLAIN_COMPILED, OURS, OURS_DEPLOY, OURS_RECOMPUTE, OURS_COMPILED, *ENGINES, CONVOLUTIONS,
         PEAK)
OPTIONAL = (PLAIN_COMPILED, OURS_COMPILED, *ENGINES, PEAK)  # skipped with a reason if they fail

PEAK_SIDE, PEAK_PRODUCTS = 1024, 4
DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16}
NARROW = {
    'memnet': dict(num_feat=8, num_block=2, num_recursion=2),
    'bundled': dict(num_feat=8, num_block=2, num_recursion=2),
    'memorynet': dict(num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1)
}
REFERENCES = {
    'memnet': ('memnet_plain.py', 'PlainMemNet'),
    'bundled': ('memnet_plain.py', 'PlainMemNet'),
    'memorynet': ('memorynet_plain.py', 'MemoryNetPlain')
}
BUNDLED = dict(num_in_ch=3, num_feat=96, num_block=3, num_recursion=3)  # memnet_denoise_color and memnet_jpeg
UNSHUFFLE = 2


@dataclass(frozen=True)
class Job:
    """One measurement.

    Args:
        network (str): 'memnet' (M6R6), 'bundled' (the bundled MemNet for color) or 'memorynet'.
        task (str): 'infer' or 'train'.
        form (str): One of the forms above.
        precision (str): 'fp32', 'bf16' or, for engines, 'int8'.
        shape (tuple[int]): Shape of the input, (n, c, h, w).
        reference (str): Folder of the plain networks (tests/reference in a clone).
        memory (str): Memory of MemoryNet; the plain network supports 'none' and 'released'. Default: 'none'.
        narrow (bool): Whether to use narrow networks. Default: False.
        tile (int | None): Tile size in pixels; None for the whole image. Default: None.
        device (str): Device to compute on. Default: 'cpu'.
        threads (int): Threads of torch and ONNX Runtime. Default: 1.
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
    """Build everything that a job needs; return a function that runs it once.

    Raises:
        UsageError: If the job cannot run on this machine.
    """
    torch.manual_seed(0)
    if job.form == CONVOLUTIONS:
        return _convolutions_run(job)
    if job.form in ENGINES:
        return _engine_run(job)
    if job.form == PEAK:
        return _peak_run(job)
    run = _training_run(job) if job.task == 'train' else _inference_run(job)
    if job.form in (PLAIN_COMPILED, OURS_COMPILED):
        for _ in range(2):  # compilation counts as building the network
            run()
        give_back_memory()
    return run


def load_plain(network, folder):
    """Load the class of a plain network from tests/reference of a clone; raise UsageError if it is missing."""
    name, cls = REFERENCES[network]
    path = osp.join(folder, name)
    if not osp.isfile(path):
        raise UsageError(f'{path} is missing: the plain networks are only in a clone of the repository; run '
                         'scripts/benchmark.py there')
    spec = importlib.util.spec_from_file_location(name[:-3], path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, cls)


def build_network(job):
    """Build the network of a job on the CPU, in the mode of its task and the form to measure."""
    options = dict(BUNDLED) if job.network == 'bundled' else {}
    options.update(NARROW[job.network] if job.narrow else {})
    if job.network == 'memorynet':
        options['memory'] = job.memory
    if not job.form.startswith('ours'):
        if job.memory == 'feature':
            options['memory'] = 'none'  # the plain network has no such memory; compare with its backbone
        if job.network == 'bundled':
            options['num_in_ch'] *= UNSHUFFLE**2
        net = load_plain(job.network, job.reference)(**options)
        return (Unshuffled(net) if job.network == 'bundled' else net).train(job.task == 'train')
    if job.network == 'bundled':
        options['unshuffle'] = UNSHUFFLE
    net = (MemoryNet if job.network == 'memorynet' else MemNet)(**options).train(job.task == 'train')
    if job.form == OURS_DEPLOY:
        return fast.inference(net)
    return fast.training(net, recompute=job.form == OURS_RECOMPUTE)


class Unshuffled(nn.Module):
    """A plain network between a pixel-unshuffle and a pixel-shuffle."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return [F.pixel_shuffle(v, UNSHUFFLE) for v in self.net(F.pixel_unshuffle(x, UNSHUFFLE))]


def _place(net, job):
    """Move the network to the device in the memory format of the form, and make an input."""
    # On a CPU our networks select the format; on a GPU the caller does.
    last = job.form in (PLAIN_LAST, PLAIN_COMPILED) or (job.device != 'cpu' and job.form.startswith('ours'))
    layout = {'memory_format': torch.channels_last} if last else {}
    return net.to(job.device, **layout), torch.rand(job.shape).to(job.device, **layout)


def _inference_run(job):
    net, x = _place(build_network(job), job)
    dtype = DTYPES[job.precision]
    net = net.to(dtype)  # not autocast, which would convert the weights at every call
    if job.form != OURS_DEPLOY:  # which takes fp32 images in every precision
        x = x.to(dtype)
    if job.form in (PLAIN_COMPILED, OURS_COMPILED):
        net = torch.compile(net)
    inference = None if job.tile is None else Inference(tile=job.tile)

    def run():
        with torch.no_grad():
            return net(x) if inference is None else inference(net, x)

    return run


def _training_run(job):
    _first_optimizer_step()
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


def _first_optimizer_step():
    """The first optimizer step of a process imports torch's compiler, whose memory is not that of training."""
    parameter = nn.Parameter(torch.zeros(1))
    parameter.grad = torch.zeros(1)
    torch.optim.AdamW([parameter]).step()


class FirstOutput(nn.Module):
    """Return only the first output of a network."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x)[0]


def _engine_run(job):
    backend = ENGINES[job.form]
    if job.device != 'cpu':
        raise UsageError('engines are measured on the CPU only')
    if not is_installed(backend):
        raise not_installed(backend)
    net, x = build_network(job).eval(), torch.rand(job.shape)
    net = net if job.form.startswith('ours') else FirstOutput(net).eval()
    graph = to_onnx(net, {'num_in_ch': job.shape[1]})
    if job.precision == 'int8':
        graph = graph._replace(content=quantize(graph.content, [x[:, :, :64, :64].numpy()]))
    engine = Engine(backend, graph, 'fp32' if job.precision == 'int8' else job.precision)
    del net, graph
    give_back_memory()
    return lambda: engine(x)


def _peak_run(job):
    """Large matrix products: the peak of the machine in a precision."""
    if job.precision == 'int8':
        one = two = torch.ones(PEAK_SIDE, PEAK_SIDE, dtype=torch.int8)
        return lambda: [torch._int_mm(one, two) for _ in range(PEAK_PRODUCTS)]  # there is no public int8 product
    one, two = (torch.rand(PEAK_SIDE, PEAK_SIDE, device=job.device).to(DTYPES[job.precision]) for _ in range(2))
    return lambda: [one @ two for _ in range(PEAK_PRODUCTS)]


def operations(job):
    """Additions and multiplications of a job: those of the plain network's convolutions, three times in training."""
    if job.form == PEAK:
        return 2 * PEAK_SIDE**3 * PEAK_PRODUCTS
    with torch.device('meta'):
        total = count_operations(executed_convolutions(replace(job, form=PLAIN)))
    return total * (3 if job.task == 'train' else 1)


def count_operations(calls):
    """Additions and multiplications of convolutions, see :class:`ConvolutionLog`."""
    total = 0
    for x, weight, _, _, stride, *_ in calls:
        step = stride if isinstance(stride, int) else stride[0]
        total += 2 * x[0] * x[2] * x[3] // step**2 * math.prod(weight)
    return total


class ConvolutionLog(TorchFunctionMode):
    """Record every convolution that runs in this context.

    Attributes:
        calls (list[tuple]): (shape of the input, shape of the weight, whether there is a bias, whether the input needs
            a gradient, stride, padding, dilation and groups).
    """

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.conv2d:
            x, weight, bias, *settings = args
            self.calls.append((x.shape, weight.shape, bias is not None, x.requires_grad, *settings))
        return func(*args, **(kwargs or {}))


def executed_convolutions(job):
    """List all convolutions that the plain network of a job executes, in order, see :class:`ConvolutionLog`.

    The network runs on the meta device, which computes only shapes.
    """
    net, x = build_network(job).to('meta'), torch.empty(job.shape, device='meta')
    with ConvolutionLog() as log, torch.set_grad_enabled(job.task == 'train'):
        net(x)
    return log.calls


def _convolutions_run(job):
    """All convolutions of the plain network in channels_last, on preallocated memory."""
    dtype, train = DTYPES[job.precision], job.task == 'train'
    calls = executed_convolutions(job)
    buffer = torch.rand(max(math.prod(v[0]) for v in calls), device=job.device, dtype=dtype)

    def random(*shape):
        return torch.rand(shape, device=job.device).to(dtype).requires_grad_(train)

    ready = []
    for (n, c, h, w), (out, *kernel), has_bias, needs_gradient, *settings in calls:
        x = buffer[:n * c * h * w].view(n, h, w, c).movedim(-1, 1).requires_grad_(needs_gradient)
        weight = random(out, *kernel).to(memory_format=torch.channels_last).detach().requires_grad_(train)
        ready.append((x, weight, random(out) if has_bias else None, settings))

    def run():
        with torch.set_grad_enabled(train):
            for x, weight, bias, settings in ready:
                y = F.conv2d(x, weight, bias, *settings)
                if train:
                    inputs = [v for v in (x, weight, bias) if v is not None and v.requires_grad]
                    torch.autograd.grad(y, inputs, y.detach())

    return run
