"""With the identity in place of the network, the protocols reproduce the published figures."""
import importlib.util
import io
import numpy as np
import os
import pytest
import skimage.data
from pathlib import Path
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2ycbcr

import memnet_basicsr  # noqa: F401
from basicsr.data import build_dataset

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get('MEMNET_BASICSR_DATA', ROOT.parent / 'shared' / 'data'))


@pytest.fixture(scope='module')
def script():
    spec = importlib.util.spec_from_file_location('check_baselines', ROOT / 'scripts/analysis/check_baselines.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name, folder', [('Set5', 'set5'), ('LIVE1', 'live1_gray'), ('BSD68', 'bsd68_gray')])
def test_published_figures(script, name, folder, capsys):
    if not (DATA / folder).is_dir():
        pytest.skip(f'{DATA / folder} is not there; name the folder above it in MEMNET_BASICSR_DATA')
    assert script.check(name, str(DATA / folder))
    assert 'DIFFERENT' not in capsys.readouterr().out


# ---------------------------------------------------------------------------- always: scikit-image's images


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('skimage')
    for name in ('astronaut', 'chelsea'):
        Image.fromarray(getattr(skimage.data, name)()[:240, :300]).save(folder / f'{name}.png')
    return folder


def _luminances(folder):
    return [np.round(rgb2ycbcr(np.array(Image.open(path)))[..., 0]) for path in sorted(folder.iterdir())]


def _psnr(a, b):
    return 20 * np.log10(255 / np.sqrt(np.mean((a - b)**2)))


def _ssim(a, b):
    """Gaussian window of 11 pixels, sigma 1.5, the map without its border of 5 pixels."""

    def mean(v):
        return gaussian_filter(v, 1.5, truncate=5 / 1.5)[5:-5, 5:-5]

    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    c1, c2 = (.01 * 255)**2, (.03 * 255)**2
    return np.mean((2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2)))


def _measure(script, folder, shave=0, rounded=False, **opt):
    opt = {'name': 'set', 'phase': 'val', 'dataroot_gt': str(folder), 'io_backend': {'type': 'disk'}, **opt}
    return script.measure(build_dataset(opt), shave, rounded)


@pytest.mark.parametrize('quality', [10, 20])
def test_jpeg_against_pillow(script, folder, quality):
    expected = []
    for y in _luminances(folder):
        code = io.BytesIO()
        Image.fromarray(y.astype(np.uint8)).save(code, 'JPEG', quality=quality)
        degraded = np.array(Image.open(code)).astype(float)
        expected.append((_psnr(degraded, y), _ssim(degraded, y)))
    ours = _measure(script, folder, type='JPEGImageDataset', quality=quality)
    assert np.allclose(ours, np.mean(expected, axis=0), atol=(.002, 1e-4))


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_bicubic_against_pillow(script, folder, scale):
    """Pillow's bicubic has MATLAB's kernel and antialiasing; at the border it renormalises instead of mirroring."""
    expected = []
    for y in _luminances(folder):
        h, w = y.shape
        small = Image.fromarray(y.astype(np.float32)).resize((w // scale, h // scale), Image.Resampling.BICUBIC)
        large = np.clip(np.round(np.array(small.resize((w, h), Image.Resampling.BICUBIC)).astype(float)), 0, 255)
        inner = np.s_[4 * scale:-4 * scale, 4 * scale:-4 * scale]
        expected.append((_psnr(large[inner], y[inner]), _ssim(large[inner], y[inner])))
    ours = _measure(script, folder, 4 * scale, True, type='BicubicImageDataset', downscale=scale)
    assert np.allclose(ours, np.mean(expected, axis=0), atol=(.002, 1e-4))


@pytest.mark.parametrize('sigma', [30, 50, 70])
def test_noise_against_its_definition(script, folder, sigma):
    psnr, _ = _measure(script, folder, type='NoisyImageDataset', sigma=sigma)
    assert abs(psnr - 20 * np.log10(255 / sigma)) < .05


def test_a_wrong_figure_fails(script, folder, capsys):
    assert not script.check('LIVE1', str(folder))
    assert 'DIFFERENT' in capsys.readouterr().out
