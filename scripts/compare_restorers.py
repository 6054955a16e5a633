"""Compare restoration networks with classical methods on a folder of clean images and print a Markdown table.

    pip install memnet-basicsr[compare]
    python scripts/compare_restorers.py --clean datasets/BSD68 --level sigma=25 --weights memnet_denoise \
        --published BSD68
    python scripts/compare_restorers.py --clean datasets/CBSD68 --level sigma=25 --color rgb --weights memnet_denoise
    python scripts/compare_restorers.py --clean datasets/LIVE1 --level quality=10 --weights memnet_jpeg \
        --published LIVE1
    python scripts/compare_restorers.py --clean datasets/BSD68 --level sigma=25 --backend openvino --methods \
        --weights memnet_denoise memnet_denoise_int8.onnx    # loss of int8, see export_onnx.py
    python scripts/compare_restorers.py --clean datasets/Set5 --level scale=3 --weights memnet_sr --published Set5

Degradations are those of validation: NoisyImageDataset (neither clipped nor rounded), JPEGImageDataset, and the
protocol of BicubicImageDataset. PSNR and SSIM are measured on float images for noise and JPEG, and on 8-bit luminance
without `scale` pixels at each border for super-resolution. The time is CPU time over all threads, per megapixel of the
result. The methods are:

    bm3d     BM3D or CBM3D of the package bm3d (for non-commercial use), which is given sigma
    nlm      non-local means of OpenCV on the image rounded to 8 bits, with h proportional to sigma
    bicubic  MATLAB's bicubic enlargement
    lanczos  Pillow's Lanczos enlargement
"""
import argparse
import cv2
import numpy as np
import os
import sys
import time
from PIL import Image
from tabulate import tabulate
from tqdm import tqdm

from basicsr.metrics import calculate_psnr, calculate_ssim
from basicsr.utils.registry import DATASET_REGISTRY
from memnet_basicsr.data.bicubic_util import resize_bicubic
from memnet_basicsr.errors import UsageError, near
from memnet_basicsr.inference.restorer import load_restorer
from memnet_basicsr.inference.weights import find_weights, read_weights

# level -> dataset, its option, channels (the first is the default), classical methods
LEVELS = {
    'sigma': ('NoisyImageDataset', 'sigma', ('gray', 'rgb'), ('bm3d', 'nlm')),
    'quality': ('JPEGImageDataset', 'quality', ('y', 'rgb'), ()),
    'scale': ('BicubicImageDataset', 'downscale', ('y', ), ('bicubic', 'lanczos')),
}
# channels -> ratio of h to sigma; PSNR is near its best for sigma 15 to 50 on images of BSD68
NLM_STRENGTH = {1: 0.85, 3: 0.5}

DNCNN, FFDNET = 'Zhang et al., arXiv 1608.03981', 'Zhang et al., arXiv 1710.04026'
# set -> level and channels, the levels, and for each method its PSNR (dB), parameters and source
PUBLISHED = {
    'BSD68': (('sigma', 'gray'), (15, 25, 30, 50, 70), {
        'BM3D, sigma given': ((31.07, 28.57, 27.76, 25.62, 24.44), None, FFDNET),
        'DnCNN-S, one network per level': ((31.73, 29.23, 28.36, 26.23, 24.90), '555 K', DNCNN),
        'DnCNN-B, blind': ((31.61, 29.16, None, 26.23, None), '666 K', DNCNN),
        'FFDNet, sigma given': ((31.63, 29.19, 28.39, 26.29, 25.04), '485 K', FFDNET),
        'MemNet': ((None, None, 28.43, 26.35, 25.09), '677 K', 'Zhang et al., arXiv 1903.10082'),
    }),
    'CBSD68': (('sigma', 'rgb'), (15, 25, 50), {
        'CBM3D, sigma given': ((33.52, 30.71, 27.38), None, FFDNET),
        'CDnCNN-B, blind': ((33.89, 31.23, 27.92), None, DNCNN),
        'FFDNet, sigma given': ((33.87, 31.21, 27.96), None, FFDNET),
    }),
    'Set5': (('scale', 'y'), (2, 3, 4), {
        'FSRCNN': ((37.00, 33.16, 30.71), '12 K', 'Dong et al., arXiv 1608.00367'),
        'VDSR': ((37.53, 33.66, 31.35), '665 K', 'Kim et al., arXiv 1511.04587'),
        'DnCNN-3, one network for all tasks': ((37.58, 33.75, 31.40), '666 K', DNCNN),
        'MemNet': ((37.78, 34.09, 31.74), '677 K', 'Tai et al., arXiv 1708.02209'),
    }),
    'LIVE1': (('quality', 'y'), (10, 20, 30, 40), {
        'AR-CNN, one network per quality': ((28.96, 31.29, 32.67, 33.63), '107 K', 'Dong et al., arXiv 1504.06993'),
        'DnCNN-3, blind': ((29.19, 31.59, 32.98, 33.96), '666 K', DNCNN),
    }),
    'Classic5': (('quality', 'y'), (10, 20, 30, 40), {
        'AR-CNN, one network per quality': ((29.03, 31.15, 32.51, 33.34), '107 K', 'Dong et al., arXiv 1504.06993'),
        'DnCNN-3, blind': ((29.40, 31.63, 32.91, 33.77), '666 K', DNCNN),
    }),
}


def parse_level(text):
    """Split 'sigma=25' into the name of the level and its number."""
    name, _, number = text.partition('=')
    if name not in LEVELS or not number.isdigit():
        raise UsageError(f'--level {text}: give sigma=N, quality=N or scale=N{near(name, LEVELS)}')
    return name, int(number)


def make_dataset(clean, name, level, color):
    """Validation set of a folder of clean images."""
    dataset, option, _, _ = LEVELS[name]
    opt = {'name': clean, 'phase': 'val', 'dataroot_gt': clean, 'io_backend': {'type': 'disk'}, 'color': color}
    return DATASET_REGISTRY.get(dataset)({**opt, option: level})


def bm3d(lq, sigma):
    try:
        import bm3d
    except ImportError:
        raise UsageError('method bm3d needs the package bm3d: pip install memnet-basicsr[compare]') from None
    if lq.shape[2] == 1:
        return bm3d.bm3d(lq[..., 0].astype(np.float64), sigma / 255)[..., None]
    return bm3d.bm3d_rgb(lq.astype(np.float64), sigma / 255)


def nlm(lq, sigma):
    img, strength = (lq * 255).round().clip(0, 255).astype(np.uint8), NLM_STRENGTH[lq.shape[2]] * sigma
    if lq.shape[2] == 1:
        return cv2.fastNlMeansDenoising(img, None, strength)[..., None] / 255.
    bgr = np.ascontiguousarray(img[..., ::-1])
    return cv2.fastNlMeansDenoisingColored(bgr, None, strength, strength)[..., ::-1] / 255.


def bicubic(lq, scale):
    return resize_bicubic(lq, lq.shape[0] * scale, lq.shape[1] * scale)


def lanczos(lq, scale):
    size = lq.shape[1] * scale, lq.shape[0] * scale
    return np.array(Image.fromarray(lq[..., 0].astype(np.float32)).resize(size, Image.Resampling.LANCZOS))[..., None]


METHODS = {'bm3d': bm3d, 'nlm': nlm, 'bicubic': bicubic, 'lanczos': lanczos}


def restorers_for(name, methods, weights, precision, backend='torch'):
    """Name in the table -> function (image (h, w, c), level) -> restored image; MB of the file; parameters."""
    found = {} if name == 'scale' else {'input': (lambda lq, level: lq, None, None)}
    found.update({method: (METHODS[method], None, None) for method in methods})
    for source in weights:
        restore = load_restorer(source, device='cpu', precision=precision, backend=backend)
        title = os.path.splitext(os.path.basename(source))[0]
        path, count = source, None
        if not source.endswith('.onnx'):
            path = find_weights(source)
            count = f'{sum(v.numel() for v in read_weights(path)[0].values()) / 1e3:.0f} K'
        size = os.path.getsize(path) / 1e6
        if name == 'scale':
            found[title] = (lambda lq, level, restore=restore: restore(lq, level)), size, count
        else:
            found[title] = (lambda lq, level, restore=restore: restore(lq)), size, count
    return found


def score(out, gt, name, level):
    """PSNR in dB and SSIM, as the protocol of the level has it."""
    out, gt = (np.asarray(v, np.float64) * 255 for v in (out, gt))
    if name == 'scale':
        out, gt = out.round().clip(0, 255), gt.round()
    crop = level if name == 'scale' else 0
    return calculate_psnr(out, gt, crop), calculate_ssim(out, gt, crop)


def compare(dataset, name, level, restorers):
    """Run every method on every image.

    Args:
        dataset (Dataset): Validation set.
        name (str): Name of the level.
        level (int): Its number.
        restorers (dict): See :func:`restorers_for`.

    Returns:
        dict: Method -> mean PSNR (dB), mean SSIM, number of parameters (or None), MB of the file (or None), CPU seconds
        per megapixel.
    """
    scores, seconds, pixels = {k: [] for k in restorers}, dict.fromkeys(restorers, 0.), 0
    for item in tqdm(dataset, disable=None):
        lq, gt = (item[k].numpy().transpose(1, 2, 0) for k in ('lq', 'gt'))
        if name == 'scale':  # the dataset enlarges; methods that enlarge themselves need the small image
            lq = resize_bicubic(gt, gt.shape[0] // level, gt.shape[1] // level)
        pixels += gt.shape[0] * gt.shape[1]
        for method, (restore, _, _) in restorers.items():
            start = time.process_time()
            out = restore(np.ascontiguousarray(lq), level)
            seconds[method] += time.process_time() - start
            scores[method].append(score(out, gt, name, level))
    return {
        method: (*np.mean(scores[method], axis=0), count, size, seconds[method] / pixels * 1e6)
        for method, (_, size, count) in restorers.items()
    }


def published(dataset, name, level, color):
    """Rows of a set's published figures; none where the papers have no figure for the level."""
    protocol, levels, methods = PUBLISHED[dataset]
    if protocol != (name, color):
        raise UsageError(f'--published {dataset}: its figures are for {protocol[0]} and --color {protocol[1]}, not for '
                         f'{name} and {color}')
    if level not in levels:
        return []
    column = levels.index(level)
    return [[method, psnr[column], None, parameters, None, None, source]
            for method, (psnr, parameters, source) in methods.items() if psnr[column] is not None]


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--clean', required=True, help='folder of clean images')
    parser.add_argument('--level', required=True, help='sigma=N (noise), quality=N (JPEG) or scale=N')
    parser.add_argument('--color', choices=('gray', 'y', 'rgb'), help='Default: gray for noise, else y (luminance)')
    parser.add_argument('--weights', nargs='*', default=[], help='bundled names, files or addresses')
    parser.add_argument('--methods', nargs='*', help='classical methods. Default: all for the level')
    parser.add_argument('--count', type=int, help='number of images, the first by name. Default: all')
    parser.add_argument('--precision', choices=('fp32', 'bf16'), default='fp32', help='Default: %(default)s')
    parser.add_argument('--backend', default='torch', help='torch, onnxruntime or openvino. Default: %(default)s')
    parser.add_argument('--published', choices=PUBLISHED, help='append the published figures of this set')
    args = parser.parse_args(argv)
    try:
        print(table(args))
    except UsageError as error:
        sys.exit(f'compare_restorers: {error}')


def table(args):
    """Markdown table for the arguments of the command line."""
    name, level = parse_level(args.level)
    _, _, colors, methods = LEVELS[name]
    color = args.color or colors[0]
    if color not in colors:
        raise UsageError(f'--color {color}: {name} is compared in {" or ".join(colors)}')
    unknown = [v for v in args.methods or () if v not in methods]
    if unknown:
        raise UsageError(f'--methods {unknown[0]}: not a method for {name}, use {" ".join(methods) or "none"}')
    rows = published(args.published, name, level, color) if args.published else []
    dataset = make_dataset(args.clean, name, level, color)
    if args.count is not None and args.count < 1:
        raise UsageError(f'--count {args.count}: must be positive')
    count = min(args.count or len(dataset), len(dataset))
    restorers = restorers_for(name, methods if args.methods is None else args.methods, args.weights, args.precision,
                              args.backend)
    results = compare([dataset[i] for i in range(count)], name, level, restorers)
    measured = [[method, *values, f'measured, {count} images'] for method, values in results.items()]
    return tabulate(
        measured + rows, ['method', 'PSNR (dB)', 'SSIM', 'parameters', 'file (MB)', 's per megapixel', 'source'],
        tablefmt='github',
        floatfmt=('', '.2f', '.4f', '', '.2f', '.2f', ''),
        missingval='-')


if __name__ == '__main__':
    main()
