"""PSNR and SSIM of the degraded input itself, ours against the published figures: proves the protocol of the data sets.

Example (name the folders you have):

    python scripts/analysis/check_baselines.py --set5 data/Set5 --live1 data/LIVE1_gray --bsd68 data/BSD68_gray

You see one line per set and level. The script fails when a figure is off by more than 0.02 dB or 0.001:

    Set5    downscale 2   33.66 / 0.9299   published 33.66 / 0.9299   difference +0.00 / +0.0000   ok

Super-resolution: Y, MATLAB's bicubic, the result rounded to uint8, as many pixels shaved as the scale. JPEG: the
luminance, in float. Noise: gray, in float, not clipped; the published figure is the definition, 20 log10(255 / sigma).
"""
import argparse
import math
import numpy as np
from tqdm import tqdm

import memnet_basicsr  # noqa: F401  (registers the data sets)
from basicsr.data import build_dataset
from basicsr.metrics import calculate_psnr, calculate_ssim
from memnet_basicsr.analysis.command import run_command
from memnet_basicsr.errors import UsageError

# set -> type of the data set, its level option, level -> published PSNR in dB and SSIM (None: none published)
PUBLISHED = {
    'Set5': ('BicubicImageDataset', 'downscale', {
        2: (33.66, .9299),
        3: (30.39, .8682),
        4: (28.42, .8104)
    }),
    'LIVE1': ('JPEGImageDataset', 'quality', {
        10: (27.77, .7730),
        20: (30.07, .8512)
    }),
    'BSD68': ('NoisyImageDataset', 'sigma', {
        v: (20 * math.log10(255 / v), None)
        for v in (30, 50, 70)
    }),
}
TOLERANCE = .02, .001  # dB and SSIM


def measure(dataset, shave=0, rounded=False):
    """Mean PSNR and SSIM of a data set's lq against its gt.

    Args:
        dataset (Dataset): Items as of :class:`DegradedImageDataset`.
        shave (int): Pixels left out at each side. Default: 0.
        rounded (bool): Whether both are rounded and clipped to uint8 first. Default: False.

    Returns:
        tuple[float]: PSNR in dB and SSIM.
    """
    results = []
    for index in tqdm(range(len(dataset)), unit='picture', desc=dataset.opt['name'], leave=False):
        item = dataset[index]
        lq, gt = (item[key].numpy().transpose(1, 2, 0) * np.float64(255) for key in ('lq', 'gt'))
        if rounded:
            lq, gt = (np.clip(np.round(v), 0, 255) for v in (lq, gt))
        results.append((calculate_psnr(lq, gt, shave), calculate_ssim(lq, gt, shave)))
    return tuple(np.mean(results, axis=0))


def check(name, folder):
    """Print a line per level of a set and return whether all agree with the published figures."""
    kind, key, levels = PUBLISHED[name]
    agree = True
    for level, published in levels.items():
        dataset = build_dataset({
            'name': name,
            'type': kind,
            'phase': 'val',
            'dataroot_gt': folder,
            'io_backend': {
                'type': 'lmdb' if folder.rstrip('/').endswith('.lmdb') else 'disk'
            },
            key: level
        })
        is_sr = key == 'downscale'
        ours = measure(dataset, level if is_sr else 0, is_sr)
        differences = [a - b for a, b in zip(ours, published) if b is not None]
        fine = all(abs(d) <= t for d, t in zip(differences, TOLERANCE))
        agree = agree and fine
        ssim, gap = ('   -  ', '') if published[1] is None else (f'{published[1]:.4f}', f' / {differences[1]:+.4f}')
        print(f'{name:7s} {key:9s} {level:<3d} {ours[0]:.2f} / {ours[1]:.4f}   published {published[0]:.2f} / {ssim}   '
              f'difference {differences[0]:+.2f}{gap}   {"ok" if fine else "DIFFERENT"}')
    return agree


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in PUBLISHED:
        parser.add_argument(f'--{name.lower()}', metavar='FOLDER', help=f'pictures or LMDB of {name}')
    args = vars(parser.parse_args(args))
    folders = {name: args[name.lower()] for name in PUBLISHED if args[name.lower()]}
    if not folders:
        raise UsageError('name at least one folder: ' + ', '.join(f'--{name.lower()}' for name in PUBLISHED))
    agree = [check(name, folder) for name, folder in folders.items()]
    if not all(agree):
        raise UsageError('a figure differs from the published one; are these the original pictures?')


if __name__ == '__main__':
    run_command(main)
