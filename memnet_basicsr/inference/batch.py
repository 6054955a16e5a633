import contextlib
import itertools
import numpy as np
import os
import re
import shutil
import sys
import time
import torch
from dataclasses import replace
from os import path as osp
from tqdm import tqdm

from ..atomic_file import replacing, write_atomically
from ..errors import UsageError, first_line
from ..metrics.psnr_ssim import psnr, ssim
from .arrays import to_batch
from .bundled import bundled_networks
from .file_list import list_files
from .image_io import MAX_PIXELS, SUFFIXES, ImageFile, output_path, read_image_file, write_image_file
from .input_level import check_strength, choose_network, level_text, measure, outside_range
from .ranks import Ranks
from .restorer import load_restorer, upscale
from .video import VIDEO_SUFFIXES, Video
from .weights import PACKAGED

# side of the window of SSIM in pixels
SMALLEST_SSIM = 11
BAR = '{percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left'
# temporary files that were not written to for this many seconds are from killed runs
LEFTOVER_AGE = 60
LEFTOVER = re.compile(r'\..+[0-9a-f]{8}\.part')


def restore_files(input,
                  output,
                  weights=None,
                  scale=None,
                  gt=None,
                  compare=False,
                  ensemble=False,
                  tile=512,
                  precision='fp32',
                  device=None,
                  overwrite=False,
                  strength=1.,
                  auto=False,
                  max_megapixels=MAX_PIXELS / 1e6,
                  backend='torch',
                  threads=None):
    """Restore image and video files. Report failures and continue with the remaining files.

    The processes of ``torchrun`` share the files.

    Args:
        input (list[str]): Files, folders or patterns.
        output (str): Folder; or a file, if there is one input file and this has the suffix of an image.
        weights (str | None): Bundled name, path or address; None with ``auto``. Default: None.
        scale (float | None): Factor of super-resolution. Default: None.
        gt (str | None): Folder with clean images of the same relative names (any suffix), or a file. Default: None.
        compare (bool): Whether to write ``<name>_compare.png``: input | restored (| clean). Default: False.
        ensemble (bool): Average over the eight flips and rotations. Default: False.
        tile (int): Side of the tiles of large images in pixels, 0 for none. Default: 512.
        precision (str): 'fp32', 'bf16' or 'fp16'. Default: 'fp32'.
        device (str | None): Device; None selects the GPU if there is one. Default: None.
        overwrite (bool): Whether to replace existing files. Default: False.
        strength (float): Weight of the output when it is blended with the input, in [0, 1]. Default: 1.
        auto (bool): Whether to choose the bundled network for each image, see :func:`choose_network`; clean images are
            copied. Default: False.
        max_megapixels (float): Largest size of an image. Default: 179.
        backend (str): 'torch', 'onnxruntime', 'openvino' or 'auto', see :func:`select_backend`. Default: 'torch'.
        threads (int | None): Threads on the CPU; None leaves torch's number. Default: None.

    Returns:
        int: Number of images that could not be restored.

    Raises:
        UsageError: If no image can be processed: no input, no weights, output not writable, wrong arguments.
    """
    if (weights is None) != bool(auto):
        raise UsageError('weights: give either weights or auto (--weights or --auto)')
    if auto and scale is not None:
        raise UsageError('scale: auto does not select networks for super-resolution; give weights (--weights)')
    files = list_files(input, SUFFIXES + VIDEO_SUFFIXES, leave_out=output)
    targets = _targets(files.images, output)
    if gt is not None and not osp.exists(gt):
        raise UsageError(f'{gt}: there is no such file or folder of clean images')
    _check_writable(osp.dirname(osp.abspath(targets[0])) if _is_file_name(files.images, output) else output)
    _remove_leftovers({osp.dirname(osp.abspath(v)) for v in targets})
    if threads is not None:
        torch.set_num_threads(threads)
    ranks = Ranks()
    if device is None and ranks.size > 1 and torch.cuda.is_available():
        device = f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"
    options = dict(device=device, precision=precision, tile=tile or None, ensemble=ensemble,
                   strength=check_strength(strength), backend=backend)  # yapf: disable
    networks = _Networks(weights, options)
    scale = 1 if auto else networks.load(weights).check_scale(scale)

    for line in files.skipped if ranks.rank == 0 else ():
        _print_error(line)
    batch = _Batch(networks, scale, gt, compare, overwrite, int(max_megapixels * 1e6))
    failed, counts, scores = 0, {'restored': 0, 'copied': 0, 'skipped': 0}, []
    with tqdm(total=len(targets), bar_format=BAR, file=sys.stderr, disable=ranks.rank > 0 or None) as bar:
        for (source, name), target in ranks.take(list(zip(files.images, targets))):
            try:
                outcome, score = batch.process(source, name, target, bar)
                counts[outcome] += 1
                if score is not None:
                    scores.append(score)
                    _print(f'{source}: {_figures(score)}')
            except (UsageError, OSError, MemoryError, RuntimeError) as error:
                failed += 1
                _print_error(_one_line(source, error))
            bar.n = ranks.done()
            bar.refresh()
    parts = ranks.gather([failed, counts, scores])
    failed, scores = sum(v[0] for v in parts), [row for v in parts for row in v[2]]
    if ranks.rank > 0:
        return failed
    counts = {key: sum(v[1][key] for v in parts) for key in counts}
    if scores:
        _print(f'mean of {len(scores)}: {_figures(_mean(scores))}')
    parts = [f"{counts['restored']} restored to {output}"]
    parts += [f"{counts['copied']} copied unchanged"] * (counts['copied'] > 0)
    parts += [f"{counts['skipped']} skipped"] * (counts['skipped'] > 0) + [f'{failed} failed'] * (failed > 0)
    _print(', '.join(parts))
    return failed


class _Networks:
    """Chooses the restorer for an image, and loads each once."""

    def __init__(self, weights, options):
        self.weights, self.options, self.loaded = weights, options, {}
        self.bundled = bundled_networks(PACKAGED) if weights is None else {}

    def load(self, name):
        if name not in self.loaded:
            self.loaded[name] = load_restorer(name, **self.options)
            if self.options['backend'] == 'auto':
                _print(f'backend: {self.loaded[name].backend}')
        return self.loaded[name]

    def choose(self, source, file):
        """Print what is known about the image and return the restorer for it; None to leave it as it is."""
        if self.weights is not None:
            restorer, name = self.load(self.weights), self.weights
            if not restorer.valid_range:
                return restorer
            levels = measure(file)
            known = ', '.join(f'{level_text(k, levels[k])} (range {low:g} to {high:g})'
                              for k, (low, high) in restorer.valid_range.items())
            _print(f'{source}: {known}')
        else:
            levels = measure(file)
            name, reason = choose_network(levels, 1 if file.pixels.ndim == 2 else 3, self.bundled)
            _print(f'{source}: {reason}, {"copied unchanged" if name is None else f"restored with {name}"}')
            if name is None:
                return None
            restorer = self.load(name)
        for fault in outside_range(levels, restorer.valid_range):
            _print_error(f'{source}: {fault} of {name}, restored anyway')
        return restorer


class _Batch:
    """Processes one file after the other and remembers what was written."""

    def __init__(self, networks, scale, gt, compare, overwrite, max_pixels):
        self.networks, self.scale, self.gt, self.compare = networks, scale, gt, compare
        self.overwrite, self.max_pixels, self.written = overwrite, max_pixels, set()

    def process(self, source, name, target, bar):
        """Restore one file.

        Args:
            source (str): Path of the file.
            name (str): Its path relative to the input folder.
            target (str): File to write; with the suffix .png if its format cannot hold the image.
            bar (tqdm): Progress bar.

        Returns:
            tuple[str, tuple | None]: 'restored', 'copied' or 'skipped'; and PSNR and SSIM of input and output, if there
            are clean images.
        """
        if self._exists(target):
            return self._skip(target)
        if source.lower().endswith(VIDEO_SUFFIXES):
            return self._process_video(source, target, bar)
        file = read_image_file(source, self.max_pixels)
        target = output_path(target, file)
        if target in self.written:
            raise UsageError(f'{source}: another image was just written to {target}; restore them to two folders')
        if self._exists(target):
            return self._skip(target)
        clean = None if self.gt is None else _read_clean(self.gt, name, file, self.scale, self.max_pixels)
        restorer = self.networks.choose(source, file)
        pixels = file.pixels if restorer is None else self._restore(restorer, file.pixels, bar)
        shown = resize_like(file.pixels, pixels)
        if self.compare:
            self._write_panel(target, [v for v in (shown, pixels, clean) if v is not None])
        if restorer is None and osp.splitext(source)[1].lower() == osp.splitext(target)[1].lower():
            with open(source, 'rb') as f:
                write_atomically(target, f.read())
        else:
            alpha = None if file.alpha is None else resize_like(file.alpha, pixels)
            write_image_file(target, replace(file, pixels=pixels, alpha=alpha))
            for note in file.notes:
                _print_error(f'{source}: {note}')
        self.written.add(target)
        score = None if clean is None else _score(shown, clean) + _score(pixels, clean)
        return 'copied' if restorer is None else 'restored', score

    def _process_video(self, source, target, bar):
        if self.gt is not None or self.compare:
            raise UsageError(f'{source}: --gt and --compare are for images only')
        if not target.lower().endswith(VIDEO_SUFFIXES):
            raise UsageError(f'{target}: use the suffix of a video: {", ".join(VIDEO_SUFFIXES)}')
        os.makedirs(osp.dirname(osp.abspath(target)), exist_ok=True)
        video = Video(source, self.max_pixels)
        frames = video.frames()
        first = next(frames, None)
        if first is None:
            raise UsageError(f'{source}: has no frames')
        restorer = self.networks.choose(source, ImageFile(first))
        if restorer is None:
            frames.close()
            with open(source, 'rb') as f, replacing(target, f'{target}.part') as copy:
                shutil.copyfileobj(f, copy)
            return 'copied', None
        video.write(target, (self._restore(restorer, v, bar, video.length) for v in itertools.chain([first], frames)))
        return 'restored', None

    def _exists(self, path):
        return osp.exists(path) and not self.overwrite and path not in self.written

    @staticmethod
    def _skip(target):
        _print_error(f'{target}: already exists, skipped (use --overwrite to replace it)')
        return 'skipped', None

    def _restore(self, restorer, pixels, bar, frames=1):
        height, width = pixels.shape[:2]
        steps = restorer.forwards(height, width, 1 if pixels.ndim == 2 else 3, self.scale)
        hook = restorer.net.register_forward_hook(lambda *_: _advance(bar, 1 / steps / frames))
        try:
            batch, back = to_batch(pixels)
            return back(restorer.restore(batch, self.scale))
        finally:
            hook.remove()

    def _write_panel(self, target, images):
        path = osp.splitext(target)[0] + '_compare.png'
        if self._exists(path):
            raise UsageError(f'{path}: already exists (use --overwrite to replace it)')
        write_image_file(path, ImageFile(np.hstack([eight_bit_rgb(v) for v in images])))
        self.written.add(path)


def _advance(bar, amount):
    # `update` returns a value, which a forward hook would substitute for the output
    bar.update(amount)


def _targets(images, output):
    if _is_file_name(images, output):
        return [output]
    targets = [osp.join(output, name) for _, name in images]
    sources = {}
    for (source, _), target in zip(images, targets):
        other = sources.setdefault(target, source)
        if osp.realpath(other) != osp.realpath(source):
            raise UsageError(f'{other} and {source} would both be written to {target}; restore them to two folders')
    return targets


def _is_file_name(images, output):
    return len(images) == 1 and output.lower().endswith(SUFFIXES + VIDEO_SUFFIXES) and not osp.isdir(output)


def _check_writable(folder):
    # before loading weights and minutes of work
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        reason = 'a dangling link' if osp.islink(folder) and not osp.exists(folder) else error.strerror
        raise UsageError(f'{folder}: cannot be created as the output folder ({reason})') from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f'{folder}: is not writable')


def _remove_leftovers(folders):
    """Remove temporary files of killed runs."""
    for folder in folders:
        for name in os.listdir(folder) if osp.isdir(folder) else ():
            path = osp.join(folder, name)
            with contextlib.suppress(OSError):
                if LEFTOVER.fullmatch(name) and time.time() - osp.getmtime(path) > LEFTOVER_AGE:
                    os.unlink(path)


def _read_clean(gt, name, file, scale, max_pixels):
    """Read the clean image: ``gt`` itself, or the file below it with the same relative name and any suffix."""
    path = osp.join(gt, name) if osp.isdir(gt) else gt
    if not osp.isfile(path):
        stem = osp.splitext(path)[0]
        path = next((stem + v for v in SUFFIXES if osp.isfile(stem + v)), None)
        if path is None:
            raise UsageError(f'{name}: has no clean image in {gt}')
    clean = read_image_file(path, max_pixels).pixels
    wanted = tuple(round(v * scale) for v in file.pixels.shape[:2]) + file.pixels.shape[2:]
    if clean.shape != wanted:
        sizes = ' and '.join('x'.join(map(str, v)) for v in (clean.shape, wanted))
        raise UsageError(f'{path}: size and channels differ from those of the output ({sizes})')
    return clean


def resize_like(pixels, like):
    """Enlarge bicubically to the height and width of another image."""
    if pixels.shape[:2] == like.shape[:2]:
        return pixels
    peak = np.iinfo(pixels.dtype).max
    batch = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1).astype(np.float32)).permute(2, 0, 1)[None]
    out = upscale(batch, like.shape[0] / pixels.shape[0])[0].permute(1, 2, 0).numpy()
    return out.clip(0, peak).round().astype(pixels.dtype).reshape(*like.shape[:2], *pixels.shape[2:])


def _to_255(pixels):
    return pixels * (255. / np.iinfo(pixels.dtype).max)


def eight_bit_rgb(pixels):
    """Convert uint8 or uint16, gray or RGB pixels to (H, W, 3), uint8."""
    pixels = _to_255(pixels).round().astype(np.uint8)
    return np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels


def _score(pixels, clean):
    pixels, clean = _to_255(pixels), _to_255(clean)
    return psnr(pixels, clean), ssim(pixels, clean) if min(pixels.shape[:2]) >= SMALLEST_SSIM else np.nan


def _mean(scores):
    columns = [[v for v in column if not np.isnan(v)] for column in zip(*scores)]
    return [np.mean(column) if column else np.nan for column in columns]


def _figures(score):
    return (f'PSNR {score[0]:.2f} -> {score[2]:.2f} dB' +
            ('' if np.isnan(score[1]) else f', SSIM {score[1]:.4f} -> {score[3]:.4f}'))


def _one_line(source, error):
    text = first_line(error)
    if isinstance(error, MemoryError) or 'out of memory' in text or 'allocate memory' in text:
        return f'{source}: out of memory; try smaller tiles (--tile 256)'
    if isinstance(error, OSError) and error.strerror:
        return f'{source}: the output cannot be written: {error.strerror} ({error.filename})'
    return text if source in text else f'{source}: {text}'


def _print(line):
    tqdm.write(line)


def _print_error(line):
    tqdm.write(line, file=sys.stderr)
