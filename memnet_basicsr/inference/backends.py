"""Backends of the inference path: torch, or an inference engine that runs the exported network on the CPU."""
import contextlib
import functools
import importlib.util
import json
import numpy as np
import platform
import statistics
import time
import torch
from importlib.metadata import version
from os import path as osp
from torch import nn

from ..atomic_file import write_atomically
from ..errors import UsageError
from .onnx_graph import TOLERANCE, Graph, to_onnx

PRECISIONS = {'onnxruntime': ('fp32', ), 'openvino': ('fp32', 'bf16')}
SIDE, REPETITIONS = 128, 3  # of the image by which backends are compared


class Engine(nn.Module):
    """A network that an inference engine computes on the CPU, called like the network that it was exported from.

    Uses as many threads as torch.

    Args:
        backend (str): 'onnxruntime' or 'openvino'.
        graph (Graph): Exported network, see :func:`to_onnx`.
        precision (str): 'fp32' or, with OpenVINO, 'bf16'. Default: 'fp32'.

    Raises:
        UsageError: If the engine is not installed, or cannot run the network or the precision.
    """

    def __init__(self, backend, graph, precision='fp32'):
        super().__init__()
        if precision not in PRECISIONS[backend]:
            raise UsageError(f'backend {backend}: computes in {" or ".join(PRECISIONS[backend])}, not in {precision}; '
                             'use --backend torch')
        self.backend, self.in_channels, self.size_multiple = backend, graph.channels, graph.multiple
        with self._errors():
            start = _start_onnxruntime if backend == 'onnxruntime' else _start_openvino
            self.compute = start(graph.content, precision)

    def forward(self, x):
        """(n, c, h, w) -> (n, c', h * s, w * s)."""
        with self._errors():
            return torch.from_numpy(self.compute(np.ascontiguousarray(x.numpy())))

    @contextlib.contextmanager
    def _errors(self):
        try:
            yield
        except ImportError:
            raise not_installed(self.backend) from None
        except Exception as error:  # the exceptions of the engines share no base class
            reason = (str(error).strip() or type(error).__name__).splitlines()[-1]  # OpenVINO begins with its source
            text = f'backend {self.backend}: cannot run the network ({reason}); use --backend torch'
            raise UsageError(text) from None


def not_installed(backend):
    """Error about a missing package."""
    return UsageError(f'backend {backend}: is not installed (pip install onnx {backend})')


def _start_onnxruntime(content, precision):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    # as OMP_WAIT_POLICY=PASSIVE for torch: spinning threads slow down other programs on the cores
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    session = onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    return lambda img: session.run(None, {'lq': img})[0]


@functools.lru_cache(maxsize=None)
def _openvino_core():
    # One for the process. The CPU plug-in of a Core sets an alternate signal stack, and at its end the one before it,
    # which is freed if that Core ended first: then a handled signal (SIGCHLD of a data loader) is a segmentation fault.
    import openvino
    return openvino.Core()


def _start_openvino(content, precision):
    core = _openvino_core()
    options = {
        # otherwise it takes bfloat16 by itself where the processor has it
        'INFERENCE_PRECISION_HINT': {
            'fp32': 'f32',
            'bf16': 'bf16'
        }[precision],
        'INFERENCE_NUM_THREADS': torch.get_num_threads(),
        'NUM_STREAMS': 1,
        'ENABLE_CPU_PINNING': False
    }
    compiled = core.compile_model(core.read_model(content), 'CPU', options)
    return lambda img: compiled(img)[0]


def select_backend(backend, net, network_opt, inference, device=None):
    """Put a network on a backend.

    Args:
        backend (str): 'torch', 'onnxruntime', 'openvino', or 'auto': the fastest that is installed, as measured on this
            machine once for each kind of network, and kept in a file below torch's hub folder.
        net (nn.Module | Graph): Network in evaluation mode, or an exported one, which torch does not run.
        network_opt (dict): Its ``network_g``.
        inference (Inference): How it is applied.
        device (str | torch.device | None): Device; None selects the GPU if there is one. Default: None.

    Returns:
        tuple: ``net`` itself (torch) or an :class:`Engine`; and a line about the choice (str).

    Raises:
        UsageError: If there is no such backend, or it cannot run the network.
    """
    exported = isinstance(net, Graph)
    if backend == 'torch' and not exported:
        return net, 'torch'
    if backend == 'torch':
        raise UsageError('backend torch: does not run exported networks; use --backend auto (or onnxruntime, openvino)')
    if backend not in ('auto', *PRECISIONS):
        raise UsageError(f"backend: '{backend}' is not known; use auto, torch, {' or '.join(PRECISIONS)}")
    device, reason = str(device or ('cuda' if torch.cuda.is_available() else 'cpu')), None
    if device != 'cpu':
        reason = f'runs on the CPU only, not on {device}'
    elif inference.local_statistics is not None:
        reason = 'cannot run a network with local statistics, whose pooling depends on the size of the image'
    if backend != 'auto':
        if reason is not None:
            raise UsageError(f'backend {backend}: {reason}; use --backend torch')
        if not is_installed(backend):
            raise not_installed(backend)
        return _engine(backend, net, network_opt, inference), backend
    engines = [v for v, known in PRECISIONS.items() if inference.precision in known and is_installed(v)]
    if exported:
        if reason is not None or not engines:
            reason = f'an inference engine {reason}' if reason else 'no engine is installed (pip install onnx openvino)'
            raise UsageError(f'backend auto: cannot run the exported network: {reason}')
        return _engine(engines[-1], net, network_opt, inference), f'{engines[-1]} (of an exported network)'
    if reason is not None or not engines:
        return net, 'torch' + ('' if reason is None else f' (an engine {reason})')
    return _fastest(net, network_opt, inference, engines)


def is_installed(backend):
    """Whether an engine and what the export needs are installed."""
    return all(importlib.util.find_spec(v) is not None for v in ('onnx', backend))


def _fastest(net, network_opt, inference, engines):
    versions = [f'{v} {version(v)}' for v in ('torch', *engines)]
    key = ', '.join([json.dumps(network_opt, sort_keys=True), inference.precision,
                     f'{torch.get_num_threads()} threads', _processor(), *versions])  # yapf: disable
    path = osp.join(torch.hub.get_dir(), 'memnet_basicsr', 'backends.json')
    known, fault = _read(path)
    seconds, source, ready = known.get(key), f'as in {path}', {}
    if seconds is None:
        seconds, ready = _measure(net, network_opt, inference, engines)
        known[key], source = seconds, 'measured now'
        with contextlib.suppress(OSError):  # a folder that cannot be written to: measured again next time
            write_atomically(path, json.dumps(known, indent=1).encode())
    name = min(seconds, key=seconds.get)
    others = ', '.join(f'{k} {v:.3f} s' for k, v in seconds.items() if k != name)
    line = f'{name}, {seconds[name]:.3f} s for {SIDE}x{SIDE} pixels ({others}), {source}{fault}'
    if name == 'torch':
        return net, line
    return ready.get(name) or _engine(name, net, network_opt, inference), line


def _engine(name, net, network_opt, inference):
    return Engine(name, net if isinstance(net, Graph) else to_onnx(net, network_opt), inference.precision)


def _processor():
    with contextlib.suppress(OSError, StopIteration), open('/proc/cpuinfo') as f:
        return next(line.split(':', 1)[1].strip() for line in f if line.startswith('model name'))
    return platform.processor() or platform.machine()


def _read(path):
    """Earlier measurements, and what is wrong with the file."""
    try:
        with open(path, encoding='utf-8') as f:
            known = json.load(f)
        if all(set(v) <= {'torch', *PRECISIONS} and all(t > 0 for t in v.values()) and v for v in known.values()):
            return known, ''
    except FileNotFoundError:
        return {}, ''
    except (OSError, ValueError, TypeError, AttributeError):
        pass
    return {}, f' ({path} was damaged)'


@torch.no_grad()
def _measure(net, network_opt, inference, engines):
    """Seconds of torch and of the engines that give what torch gives, and these engines by name."""
    graph = to_onnx(net, network_opt)
    img = torch.rand(1, graph.channels, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    nets = {'torch': inference.prepare(net)}
    want = inference(nets['torch'], img)
    for name in engines:
        with contextlib.suppress(UsageError):
            engine = Engine(name, graph, inference.precision)
            difference = (engine(img) - want).abs().max()
            if inference.precision != 'fp32' or difference <= TOLERANCE:
                nets[name] = engine
    seconds = {name: [] for name in nets}
    for _ in range(REPETITIONS):
        for name, backend in nets.items():
            start = time.perf_counter()
            inference(backend, img)
            seconds[name].append(time.perf_counter() - start)
    return {k: statistics.median(v) for k, v in seconds.items()}, nets
