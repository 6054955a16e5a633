"""Train a small MemNet denoiser on real photographs with BasicSR's own train.py: ``python -m memnet_basicsr.demo``.

The photographs are those that scikit-image carries, split by image. Everything is written below the current
directory: datasets/skimage/*.lmdb and experiments/train_MemNet_demo. Takes some four minutes of one CPU core.
"""
import cv2
import numpy as np
import os
import subprocess
import sys
import time
from os import path as osp

import basicsr
from basicsr.archs import build_network
from basicsr.metrics.psnr_ssim import calculate_psnr, calculate_ssim
from .data.color_util import bgr2gray
from .data.lmdb_util import write_lmdb
from .data.noisy_image_dataset import NoisyImageDataset
from .engine.checkpoint import load, parameters_of
from .engine.validation import to_image
from .errors import UsageError
from .inference import Inference
from .plugin.autoload import status
from .plugin.option_file import load_yaml

IMAGES = {
    'train': ('astronaut', 'coffee', 'rocket', 'coins', 'clock', 'brick', 'grass', 'gravel', 'hubble_deep_field'),
    'val': ('camera', 'chelsea', 'motorcycle'),
}
OPTIONS = osp.join('options', 'train_MemNet_demo.yml')
RUN = osp.join('experiments', 'train_MemNet_demo')


def say(text=''):
    sys.stdout.write(f'{text}\n')
    sys.stdout.flush()


def photographs(names):
    """Gray uint8 photographs of scikit-image by name."""
    try:
        import skimage.data
    except ImportError:
        raise UsageError('the demo needs scikit-image: pip install scikit-image') from None
    for name in names:
        img = skimage.data.stereo_motorcycle()[0] if name == 'motorcycle' else getattr(skimage.data, name)()
        yield name, img[..., None] if img.ndim == 2 else bgr2gray(img[..., ::-1])


def prepare():
    for split, names in IMAGES.items():
        target = osp.join('datasets', 'skimage', f'{split}_gray.lmdb')
        count = write_lmdb(
            target, photographs(names), signature=' '.join(names), total=len(names), overwrite=True, progress=False)
        say(f'{target}: {len(names)} photographs ({", ".join(names)}){"" if count else ", up to date"}')


def train(options):
    """Run the unmodified train.py of the installed BasicSR and pass its progress lines on."""
    script = osp.join(osp.dirname(basicsr.__file__), 'train.py')
    say(f'\n$ python {script} -opt {options}')
    process = subprocess.Popen([sys.executable, script, '-opt', options],
                               stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT,
                               text=True)
    lines = []
    for line in process.stdout:
        lines.append(line)
        if 'iter:' in line or '# psnr' in line or '# ssim' in line or 'Repairs' in line:
            say(line.rstrip())
    if process.wait():
        sys.stderr.writelines(lines[-30:])
        raise UsageError(f'training ended with status {process.returncode} (its last lines are above)')


def compare(options):
    """Restore the validation photographs with the checkpoint; print a table and write an image."""
    opt = load_yaml(options)
    checkpoint = osp.join(RUN, 'models', 'net_g_latest.pth')
    net = build_network(opt['network_g'])
    net.load_state_dict(parameters_of(load(checkpoint), checkpoint))
    inference = Inference()
    panels, gains = [], []
    say(f'\n{"photograph":<14}{"noisy":>16}{"restored":>18}{"gain":>12}')
    for sample in NoisyImageDataset({**opt['datasets']['val'], 'phase': 'val'}):
        lq, gt = sample['lq'][None], sample['gt'][None]
        out = inference(net, lq)
        noisy, restored, clean = (to_image(v, quantize=False) for v in (lq, out, gt))
        psnr = [calculate_psnr(v, clean, 0) for v in (noisy, restored)]
        ssim = [calculate_ssim(v, clean, 0) for v in (noisy, restored)]
        gains.append(psnr[1] - psnr[0])
        say(f'{sample["gt_path"]:<14}{psnr[0]:8.2f} / {ssim[0]:.3f}{psnr[1]:10.2f} / {ssim[1]:.3f}{gains[-1]:9.2f} dB')
        panels.append(np.hstack([to_image(v) for v in (lq, out, gt)]))
    say(f'{"mean gain":<14}{np.mean(gains):43.2f} dB        (PSNR in dB / SSIM)')
    image = osp.join(RUN, 'noisy_restored_clean.png')
    cv2.imwrite(image, panels[0])
    say(f'\nimage (noisy | restored | clean): {image}\ncheckpoint: {checkpoint}')


def main():
    start = time.time()
    options = OPTIONS if osp.isfile(OPTIONS) else osp.join(osp.dirname(__file__), os.pardir, OPTIONS)
    try:
        if 'autoload is on:' not in status():
            raise UsageError(
                f'{status()}: BasicSR would not see the plug-in; run python -m memnet_basicsr.plugin.autoload on')
        prepare()
        train(options)
        compare(options)
    except UsageError as error:
        sys.exit(f'error: {error}')
    say(f'{time.time() - start:.0f} s in all')


if __name__ == '__main__':
    main()
