import numpy as np
import os
import sys
import torch
from os import path as osp
from tqdm import tqdm

from basicsr.metrics import calculate_psnr, calculate_ssim
from ..errors import UsageError
from .file_list import list_files
from .image_io import SUFFIXES, Picture, output_path, read_picture, write_picture
from .restorer import load_restorer, upscale

# SSIM looks through a window of 11x11
SMALLEST_SSIM = 11
BAR = '{percentage:3.0f}%|{bar}| {elapsed} elapsed, {remaining} left'


def restore_files(input,
                  output,
                  weights,
                  scale=None,
                  gt=None,
                  compare=False,
                  ensemble=False,
                  tile=512,
                  precision='fp32',
                  device=None,
                  overwrite=False):
    """Restore picture files; what goes wrong with one of them is told in a line, and the others go on.

    Args:
        input (list[str]): Files, folders or patterns.
        output (str): Folder; or a file, if there is one input file and this has the suffix of a picture.
        weights (str): Packaged name, path or address.
        scale (float | None): Factor of super-resolution. Default: None.
        gt (str | None): Folder with clean pictures of the same relative names (any suffix), or a file. Default: None.
        compare (bool): Whether to write ``<name>_compare.png``: input | restored (| clean). Default: False.
        ensemble (bool): Average over the eight flips and rotations. Default: False.
        tile (int): Side of the tiles of large pictures in pixels, 0 for none. Default: 512.
        precision (str): 'fp32', 'bf16' or 'fp16'. Default: 'fp32'.
        device (str | None): Where to compute; None takes the GPU where there is one. Default: None.
        overwrite (bool): Whether to replace files that are there. Default: False.

    Returns:
        int: Number of pictures that could not be restored.

    Raises:
        UsageError: If nothing can be done at all: no input, no weights, output not writable.
    """
    files = list_files(input, SUFFIXES, leave_out=output)
    targets = _targets(files.pictures, output)
    if gt is not None and not osp.exists(gt):
        raise UsageError(f'{gt}: there is no such file or folder of clean pictures')
    _check_writable(osp.dirname(osp.abspath(targets[0])) if _is_file_name(files.pictures, output) else output)
    restorer = load_restorer(weights, device, precision, tile or None, ensemble)
    scale = restorer.check_scale(scale)

    for line in files.skipped:
        _tell(line)
    written, kept, failed, scores = set(), 0, 0, []
    with tqdm(total=len(targets), bar_format=BAR, file=sys.stderr, disable=None) as bar:
        for number, ((source, name), target) in enumerate(zip(files.pictures, targets), 1):
            try:
                score = _restore_file(restorer, scale, source, name, target, gt, compare, overwrite, written, bar)
                if score is None:
                    kept += 1
                    _tell(f'{target}: is there already, left as it is (--overwrite replaces it)')
                elif gt is not None:
                    scores.append(score)
                    _say(f'{source}: {_figures(score)}')
            except (UsageError, OSError, MemoryError, RuntimeError) as error:
                failed += 1
                _tell(_one_line(source, error))
            bar.n = number
            bar.refresh()
    if scores:
        _say(f'mean of {len(scores)}: {_figures(_mean(scores))}')
    parts = [f'{len(targets) - kept - failed} restored to {output}']
    parts += [f'{kept} left as they were'] * (kept > 0) + [f'{failed} failed'] * (failed > 0)
    _say(', '.join(parts))
    return failed


def _restore_file(restorer, scale, source, name, target, gt, compare, overwrite, written, bar):
    """Restore one file; None if its result is there, else PSNR and SSIM of input and result (NaN without gt)."""
    if osp.exists(target) and not overwrite and target not in written:
        return None
    picture = read_picture(source)
    target = output_path(target, picture)
    if target in written:
        raise UsageError(f'{source}: another picture was written to {target} just now; restore them to two folders')
    if osp.exists(target) and not overwrite:
        return None

    clean = None if gt is None else _read_clean(gt, name, picture, scale)
    height, width = picture.pixels.shape[:2]
    channels = 1 if picture.pixels.ndim == 2 else 3
    steps = restorer.forwards(height, width, channels, scale)
    hook = restorer.net.register_forward_hook(lambda *_: _advance(bar, 1 / steps))
    try:
        pixels = restorer(picture.pixels, scale)
    finally:
        hook.remove()
    result = Picture(pixels, picture.alpha, picture.metadata, picture.notes)
    if picture.alpha is not None:
        result.alpha = _resize(picture.alpha, pixels)
    shown = _resize(picture.pixels, pixels)
    if compare:
        panel = [_eight_bit_rgb(v) for v in (shown, pixels, clean) if v is not None]
        panel_path = osp.splitext(target)[0] + '_compare.png'
        if osp.exists(panel_path) and not overwrite and panel_path not in written:
            raise UsageError(f'{panel_path}: is there already (--overwrite replaces it)')
        write_picture(panel_path, Picture(np.hstack(panel)))
        written.add(panel_path)
    write_picture(target, result)
    written.add(target)
    for note in picture.notes:
        _tell(f'{source}: {note}')
    if clean is None:
        return (np.nan, ) * 4
    return _score(shown, clean) + _score(pixels, clean)


def _advance(bar, amount):
    # the bar's own update returns a value, which a forward hook would put in place of the output
    bar.update(amount)


def _targets(pictures, output):
    if _is_file_name(pictures, output):
        return [output]
    targets = [osp.join(output, name) for _, name in pictures]
    sources = {}
    for (source, _), target in zip(pictures, targets):
        other = sources.setdefault(target, source)
        if osp.realpath(other) != osp.realpath(source):
            raise UsageError(f'{other} and {source} would both be written to {target}; restore them to two folders')
    return targets


def _is_file_name(pictures, output):
    return len(pictures) == 1 and output.lower().endswith(SUFFIXES) and not osp.isdir(output)


def _check_writable(folder):
    # before the weights are loaded and minutes of work are lost
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UsageError(f'{folder}: cannot be made as folder of the results ({error.strerror})') from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f'{folder}: is not writable')


def _read_clean(gt, name, picture, scale):
    """The clean picture: ``gt`` itself, or the file below it with the same relative name, whatever its suffix."""
    path = osp.join(gt, name) if osp.isdir(gt) else gt
    if not osp.isfile(path):
        stem = osp.splitext(path)[0]
        path = next((stem + v for v in SUFFIXES if osp.isfile(stem + v)), None)
        if path is None:
            raise UsageError(f'{name}: has no clean picture in {gt}')
    clean = read_picture(path).pixels
    wanted = tuple(round(v * scale) for v in picture.pixels.shape[:2]) + picture.pixels.shape[2:]
    if clean.shape != wanted:
        sizes = ' and '.join('x'.join(map(str, v)) for v in (clean.shape, wanted))
        raise UsageError(f'{path}: has not the size and channels of the result ({sizes})')
    return clean


def _resize(pixels, like):
    """Enlarge bicubically to the height and width of another picture."""
    if pixels.shape[:2] == like.shape[:2]:
        return pixels
    peak = np.iinfo(pixels.dtype).max
    batch = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1).astype(np.float32)).permute(2, 0, 1)[None]
    out = upscale(batch, like.shape[0] / pixels.shape[0])[0].permute(1, 2, 0).numpy()
    return out.clip(0, peak).round().astype(pixels.dtype).reshape(*like.shape[:2], *pixels.shape[2:])


def _to_255(pixels):
    return pixels * (255. / np.iinfo(pixels.dtype).max)


def _eight_bit_rgb(pixels):
    pixels = _to_255(pixels).round().astype(np.uint8)
    return np.dstack([pixels] * 3) if pixels.ndim == 2 else pixels


def _score(pixels, clean):
    pixels, clean = _to_255(pixels), _to_255(clean)
    ssim = calculate_ssim(pixels, clean, 0) if min(pixels.shape[:2]) >= SMALLEST_SSIM else np.nan
    return calculate_psnr(pixels, clean, 0), ssim


def _mean(scores):
    columns = [[v for v in column if not np.isnan(v)] for column in zip(*scores)]
    return [np.mean(column) if column else np.nan for column in columns]


def _figures(score):
    return (f'PSNR {score[0]:.2f} -> {score[2]:.2f} dB' +
            ('' if np.isnan(score[1]) else f', SSIM {score[1]:.4f} -> {score[3]:.4f}'))


def _one_line(source, error):
    text = (str(error) or type(error).__name__).splitlines()[0]
    if isinstance(error, MemoryError) or 'out of memory' in text or "can't allocate memory" in text:
        return f'{source}: the memory does not suffice; use smaller tiles (--tile 256)'
    if isinstance(error, OSError) and error.strerror:
        return f'{source}: the result cannot be written: {error.strerror} ({error.filename})'
    return text if source in text else f'{source}: {text}'


def _say(line):
    tqdm.write(line)


def _tell(line):
    tqdm.write(line, file=sys.stderr)
