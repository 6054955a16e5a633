"""Bundled networks on one image file, as memnet-restore runs them, beside classical methods."""
import contextlib
import cv2
import io
import tempfile
import time
from os import path as osp

from ...errors import UsageError
from ...inference.backends import PRECISIONS, is_installed
from ...inference.batch import restore_files
from ...inference.bundled import bundled_networks

COLUMNS = ('network', 'backend', 'precision', 'time (s)', 'CPU (s)', 'megapixels per CPU second')
SIGMA, CROP = 25, 256  # the crop of the slow classical methods, whose time grows with the pixels


def packaged_rows(path, names=None, quick=False):
    """Rows of ``COLUMNS``: time from the file to the written file, without loading the network.

    Args:
        path (str): Image.
        names (list[str] | None): Bundled networks; None for those that keep the size of the image. Default: None.
        quick (bool): Measure only torch. Default: False.

    Yields:
        list[str]: A row.

    Raises:
        UsageError: If the image cannot be read.
    """
    img = cv2.imread(path)
    if img is None:
        raise UsageError(f'{path}: cannot be read as an image')
    backends = {'torch': ('fp32', 'bf16'), **{k: v for k, v in PRECISIONS.items() if is_installed(k) and not quick}}
    found = bundled_networks()
    with tempfile.TemporaryDirectory() as folder:
        tiny, out = osp.join(folder, 'tiny.png'), osp.join(folder, 'out.png')
        cv2.imwrite(tiny, img[:8, :8])
        for name in names or [k for k, v in found.items() if v.get('task') != 'sr']:
            for backend, precisions in backends.items():
                for precision in precisions:

                    def run(source, name=name, backend=backend, precision=precision):
                        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                            restore_files([source], out, name, precision=precision, device='cpu', overwrite=True,
                                          backend=backend)  # yapf: disable

                    start = _seconds(lambda run=run: run(tiny))  # loads the network, and starts the engine
                    yield [name, backend, precision, *_figures(_seconds(lambda run=run: run(path)), start, img)]
    small = img[:CROP, :CROP]
    yield ['non-local means', 'cv2', 'uint8', *_figures(_seconds(lambda: cv2.fastNlMeansDenoisingColored(
        small, None, SIGMA / 2, SIGMA / 2)), (0, 0), small)]  # yapf: disable
    with contextlib.suppress(ImportError):
        import bm3d
        yield ['BM3D (gray)', 'bm3d', 'fp64', *_figures(_seconds(lambda: bm3d.bm3d(
            small[..., 1] / 255., SIGMA / 255)), (0, 0), small)]  # yapf: disable


def _seconds(run):
    start, start_cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - start, time.process_time() - start_cpu


def _figures(seconds, start, img):
    wall, cpu = (max(v - w, 1e-9) for v, w in zip(seconds, start))
    return [f'{wall:.3g}', f'{cpu:.3g}', f'{img.shape[0] * img.shape[1] / 1e6 / cpu:.3g}']
