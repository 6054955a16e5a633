"""Compare PSNR and SSIM of the degraded inputs with published values, which checks the protocol of the datasets.

Example (give the folders that you have):

    python scripts/analysis/check_baselines.py --set5 data/Set5 --live1 data/LIVE1_gray --bsd68 data/BSD68_gray

Prints one line per dataset and level, and fails if a value differs by more than 0.02 dB or 0.001:

    Set5    downscale=2   33.66 / 0.9299   published 33.66 / 0.9299   difference +0.00 / +0.0000   ok

Super-resolution: Y, MATLAB's bicubic kernel, rounded to uint8, cropped by the scale. JPEG: luminance, float. Noise:
gray, float, not clipped; the published value is the definition, 20 log10(255 / sigma).
"""
import math
import numpy as np
from tqdm import tqdm

import memnet_basicsr  # noqa: F401  (registers the datasets)
from basicsr.metrics import calculate_psnr, calculate_ssim
from memnet_basicsr.analysis.command import make_parser, run_command
from memnet_basicsr.analysis.images import degraded_images, protocol
from memnet_basicsr.engine.images import to_image
from memnet_basicsr.errors import UsageError

# dataset -> level -> published PSNR in dB and SSIM (None: not published)
PUBLISHED = {
    'Set5': {
        'downscale=2': (33.66, .9299),
        'downscale=3': (30.39, .8682),
        'downscale=4': (28.42, .8104)
    },
    'LIVE1': {
        'quality=10': (27.77, .7730),
        'quality=20': (30.07, .8512)
    },
    'BSD68': {
        f'sigma={v}': (20 * math.log10(255 / v), None)
        for v in (30, 50, 70)
    },
}
TOLERANCE = .02, .001  # dB and SSIM


def measure(dataset, shave=0, quantize=False):
    """Mean PSNR and SSIM of the ``lq`` of a dataset against its ``gt``.

    Args:
        dataset (DegradedImageDataset): Validation set.
        shave (int): Pixels to crop at each border. Default: 0.
        quantize (bool): Whether to clip and round to uint8 first. Default: False.

    Returns:
        tuple[float]: PSNR in dB and SSIM.
    """
    results = []
    for index in tqdm(range(len(dataset)), unit='image', desc=dataset.opt['name'], leave=False):
        item = dataset[index]
        lq, gt = (to_image(item[key], quantize) for key in ('lq', 'gt'))
        results.append((calculate_psnr(lq, gt, shave), calculate_ssim(lq, gt, shave)))
    return tuple(np.mean(results, axis=0))


def check(name, folder):
    """Print one line per level of a dataset; return whether all values agree with the published ones."""
    agree = True
    for level, published in PUBLISHED[name].items():
        ours = measure(degraded_images(folder, level, 1), **protocol(level))
        differences = [a - b for a, b in zip(ours, published) if b is not None]
        fine = all(abs(d) <= t for d, t in zip(differences, TOLERANCE))
        agree = agree and fine
        ssim, gap = ('   -  ', '') if published[1] is None else (f'{published[1]:.4f}', f' / {differences[1]:+.4f}')
        print(f'{name:7s} {level:13s} {ours[0]:.2f} / {ours[1]:.4f}   published {published[0]:.2f} / {ssim}   '
              f'difference {differences[0]:+.2f}{gap}   {"ok" if fine else "DIFFERENT"}')
    return agree


def main(args=None):
    parser = make_parser(__doc__)
    for name in PUBLISHED:
        parser.add_argument(f'--{name.lower()}', metavar='FOLDER', help=f'folder or LMDB of {name}')
    args = vars(parser.parse_args(args))
    folders = {name: args[name.lower()] for name in PUBLISHED if args[name.lower()]}
    if not folders:
        raise UsageError('give at least one of ' + ', '.join(f'--{name.lower()}' for name in PUBLISHED))
    agree = [check(name, folder) for name, folder in folders.items()]
    if not all(agree):
        raise UsageError('a value differs from the published one; check that these are the original images')


if __name__ == '__main__':
    run_command(main)
