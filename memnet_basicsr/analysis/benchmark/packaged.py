"""Bundled networks on one image file, as memnet-restore runs them, beside DnCNN and classical methods."""
import contextlib
import copy
import cv2
import io
import tempfile
import time
import torch
from dataclasses import replace
from os import path as osp
from torch import nn

from ...errors import UsageError
from ...inference import Inference
from ...inference.backends import PRECISIONS, is_installed, select_backend
from ...inference.batch import restore_files
from ...inference.bundled import bundled_networks
from ...inference.image_io import read_image_file, write_image_file
from ...inference.restorer import Restorer
from ...inference.weights import input_channels, load_network
from .jobs import PEAK, ConvolutionLog, Job, count_operations, operations, prepare

COLUMNS = ('network', 'backend', 'precision', 'time (s)', 'CPU (s)', 'megapixels per CPU second', 'share of peak')
DNCNN, NLM, BM3D, CBM3D = 'CDnCNN-B', 'NLM', 'BM3D', 'CBM3D'
SIGMA, CROP, TILE, SIDE = 25, 256, 512, 64  # the crop of BM3D, whose time grows with the pixels


class DnCNN(nn.Module):
    """Color DnCNN-B (Zhang et al., https://arxiv.org/abs/1608.03981) with BatchNorm folded and random weights."""

    def __init__(self, num_ch=3, num_feat=64, num_conv=20):
        super().__init__()
        sizes = [num_ch] + [num_feat] * (num_conv - 1) + [num_ch]
        layers = [v for i in range(num_conv) for v in (nn.Conv2d(*sizes[i:i + 2], 3, padding=1), nn.ReLU())]
        self.body = nn.Sequential(*layers[:-1])

    def forward(self, x):
        return x - self.body(x)


def packaged_rows(path, names=None, precisions=('fp32', 'bf16'), backends=None):
    """Rows of ``COLUMNS``: time from the file to the written file, without loading the network.

    Networks for gray images get the gray image. BM3D gets a crop, without reading and writing.

    Args:
        path (str): Image.
        names (list[str] | None): Bundled networks, 'CDnCNN-B' (its graph with random weights), 'NLM', 'BM3D', 'CBM3D';
            None for all but networks for super-resolution. Default: None.
        precisions (tuple[str]): 'fp32', 'bf16'. Default: both.
        backends (list[str] | None): None for all that are installed. Default: None.

    Yields:
        list[str]: A row.

    Raises:
        UsageError: If the image cannot be read, or there is no such network.
    """
    img = cv2.imread(path)
    if img is None:
        raise UsageError(f'{path}: cannot be read as an image')
    found = bundled_networks()
    names = names or [*(k for k, v in found.items() if v.get('task') != 'sr'), DNCNN, NLM, BM3D, CBM3D]
    peaks = {v: _peak(v) for v in precisions}
    with tempfile.TemporaryDirectory() as folder:
        gray, tiny, out = (osp.join(folder, f'{v}.png') for v in ('gray', 'tiny', 'out'))
        cv2.imwrite(gray, cv2.cvtColor(img, cv2.COLOR_BGR2GRAY))
        for name in names:
            if name in (NLM, BM3D, CBM3D):
                yield from _classical(name, path, img, out)
                continue
            net, description = (DnCNN().eval(), DNCNN_DESCRIPTION) if name == DNCNN else load_network(name)
            channels = input_channels(net, description['network_g'])
            source = path if channels == 3 else gray
            cv2.imwrite(tiny, cv2.imread(source, cv2.IMREAD_UNCHANGED)[:8, :8])
            for backend, precision in _pairs(backends, precisions):
                run = _dncnn(net, backend, precision, out) if name == DNCNN else _command(name, backend, precision, out)
                start = _seconds(run, tiny)  # loads the network, and starts the engine
                wall, cpu = (max(v - w, 1e-9) for v, w in zip(_seconds(run, source), start))
                pixels = img.shape[0] * img.shape[1]
                speed = _operations(net, channels) * pixels / cpu
                yield [name, backend, precision, *_figures(wall, cpu, pixels), f'{speed / peaks[precision]:.2f}']


DNCNN_DESCRIPTION = {'task': 'denoise', 'color': 'each', 'network_g': {'num_in_ch': 3}}


def _pairs(backends, precisions):
    known = {'torch': ('fp32', 'bf16'), **PRECISIONS}
    backends = backends or ['torch', *(v for v in PRECISIONS if is_installed(v))]
    return [(k, v) for k in backends for v in known[k] if v in precisions]


def _command(name, backend, precision, out):

    def run(source):
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            restore_files([source], out, name, precision=precision, device='cpu', overwrite=True, backend=backend)

    return run


def _dncnn(net, backend, precision, out):

    def run(source):
        inference = Inference(tile=TILE, precision=precision)
        chosen, _ = select_backend(backend, net, DNCNN_DESCRIPTION['network_g'], inference, 'cpu')
        restorer, file = Restorer(chosen, DNCNN_DESCRIPTION, inference, 'cpu'), read_image_file(source)
        write_image_file(out, replace(file, pixels=restorer(file.pixels)))

    return run


def _classical(name, path, img, out):

    def non_local_means():
        cv2.imwrite(out, cv2.fastNlMeansDenoisingColored(cv2.imread(path), None, SIGMA / 2, SIGMA / 2))

    if name == NLM:
        yield [name, 'cv2', 'uint8', *_figures(*_seconds(non_local_means), img.shape[0] * img.shape[1]), '-']
        return
    with contextlib.suppress(ImportError):
        import bm3d
        crop = img[:CROP, :CROP] / 255.
        run, crop = (bm3d.bm3d, crop[..., 1]) if name == BM3D else (bm3d.bm3d_rgb, crop)
        seconds = _seconds(run, crop, SIGMA / 255)
        yield [name, 'bm3d', 'fp64', *_figures(*seconds, crop.shape[0] * crop.shape[1]), '-']


def _peak(precision):
    """Operations per CPU second of large matrix products."""
    job = Job('', 'infer', PEAK, precision, (), '')
    run = prepare(job)
    run()
    return operations(job) / _seconds(run)[1]


@torch.no_grad()
def _operations(net, channels):
    """Operations of the convolutions of a network for one pixel."""
    with ConvolutionLog() as log:
        copy.deepcopy(net).to('meta')(torch.empty(1, channels, SIDE, SIDE, device='meta'))
    return count_operations(log.calls) / SIDE**2


def _seconds(run, *args):
    start, start_cpu = time.perf_counter(), time.process_time()
    run(*args)
    return time.perf_counter() - start, time.process_time() - start_cpu


def _figures(wall, cpu, pixels):
    return [f'{wall:.3g}', f'{cpu:.3g}', f'{pixels / 1e6 / cpu:.3g}']
