"""Damaged images, and values that are not finite, in images, weights and outputs."""
import cv2
import io
import numpy as np
import os
import shutil
import torch
from functools import partial
from PIL import Image

from memnet_basicsr.inference.bundled import KEY
from tests.campaign.faults import NETWORK, TEST, damaged
from tests.test_engine.tiny_runs import options, write_options

SUFFIXES = ('.png', '.jpg', '.tif', '.bmp', '.webp', '.ppm', '.gif')
TRAINING = {
    'nothing': b'',
    'text': b'not an image',
    'a header': b'\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR',
    'half': None,
    'floats': None
}


def faults(campaign):
    draw = campaign.generator('images')
    for suffix in SUFFIXES if campaign.is_long else SUFFIXES[:2]:
        for kind in ('cut', 'bit', 'zeros', 'noise') if campaign.is_long else ('cut', 'bit'):
            yield (f'memnet-restore, 30 files {suffix}: {kind}', partial(restored, suffix, kind, draw.random()))
    for number, name in enumerate(TRAINING):
        if campaign.is_long or name == 'floats':
            yield f'training image: {name}', partial(trained, name, 2 * (number % 2))
    for kind in ('weights', 'output'):
        for use in ('memnet-restore', 'test.py'):
            yield f'NaN in {kind}: {use}', partial(not_finite, kind, use)


def encoded(suffix):
    """An image without structure that could hide damage."""
    img = cv2.GaussianBlur(np.random.RandomState(0).randint(0, 256, (40, 50, 3), dtype=np.uint8), (0, 0), 1)
    if suffix == '.gif':
        buffer = io.BytesIO()
        Image.fromarray(img).save(buffer, 'GIF')
        return buffer.getvalue()
    return cv2.imencode(suffix, img)[1].tobytes()


def restored(suffix, kind, seed, campaign, folder):
    """Each file is restored or named; of formats with checksums, only what is not damaged is restored."""
    generator, content = campaign.generator(seed), encoded(suffix)
    (folder / 'in').mkdir()
    (folder / 'in' / f'whole{suffix}').write_bytes(content)
    for i in range(30):
        (folder / 'in' / f'{i:02d}{suffix}').write_bytes(damaged(content, kind, generator))
    result = campaign.restore(folder, '-i', 'in', '-o', 'out')
    result.check((0, 1))
    outputs = {v.stem: v.read_bytes() for v in (folder / 'out').iterdir()}
    for i in range(30):
        named = [v for v in result.log.splitlines() if v.startswith(f'in/{i:02d}{suffix}: ')]
        assert (f'{i:02d}' in outputs) or len(named) == 1, (i, named)
        if suffix == '.png' and f'{i:02d}' in outputs:
            assert outputs[f'{i:02d}'] == outputs['whole'], i
        assert kind != 'cut' or f'{i:02d}' not in outputs or suffix in ('.png', '.gif'), i
    assert 'whole' in outputs


def trained(name, workers, campaign, folder):
    shutil.copytree(campaign.images / 'pics' / 'train', folder / 'train')
    path = folder / 'train' / 'p3.png'
    if name == 'floats':
        img = np.full((30, 34), 0.5, np.float32)
        img[3, 4] = np.nan
        path.unlink()
        cv2.imwrite(str(folder / 'train' / 'p3.tif'), img)
    else:
        content = TRAINING[name]
        path.write_bytes(path.read_bytes()[:200] if content is None else content)
    write_options(folder, options(datasets__train__dataroot_gt='train', datasets__train__num_worker_per_gpu=workers))
    campaign.run(folder).refused('train/p3.', 'float32' if name == 'floats' else 'replace or remove it')


def not_finite(kind, use, campaign, folder):
    """Weights that hold NaN, and finite ones whose output overflows."""
    content = torch.load(campaign.weights, weights_only=True)
    name = next(k for k, v in content['params'].items() if v.ndim == 4)
    content['params'][name].view(-1)[0] = float('nan') if kind == 'weights' else 3e38
    if kind == 'output':
        for value in content['params'].values():
            if value.is_floating_point() and value.ndim == 4:
                value.mul_(1e30).clamp_(-3e38, 3e38)
    content[KEY] = {'network_g': NETWORK, 'task': 'denoise'}
    torch.save(content, folder / 'x.pth')
    if use == 'memnet-restore':
        result = campaign.restore(folder, '-i', 'pics/val', '-o', 'out', weights='x.pth')
        result.refused('NaN or infinite values')
        assert kind == 'weights' or '0 restored to out, 3 failed' in result.log
    else:
        opt = options(path__pretrain_network_g='x.pth', network_g=NETWORK, datasets__train=None, train=None,
                      logger=None, val__save_img=True)  # yapf: disable
        del opt['val']['val_freq']
        write_options(folder, opt)
        result = campaign.run(folder, script=TEST)
        result.refused('NaN or infinite values', 'x.pth' if kind == 'weights' else 'p0')
        assert not [v for _, _, names in os.walk(folder / 'results') for v in names if v.endswith('.png')]
