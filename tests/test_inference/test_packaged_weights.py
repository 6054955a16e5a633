"""Bundled weights match their option files, load in BasicSR, and improve images."""
import cv2
import numpy as np
import pytest
import re
import skimage.data
import torch
from pathlib import Path

from basicsr.archs import build_network
from basicsr.metrics import calculate_psnr
from basicsr.models.base_model import BaseModel
from memnet_basicsr import load_restorer
from memnet_basicsr.data.bicubic_util import resize_bicubic
from memnet_basicsr.inference.batch import restore_files
from memnet_basicsr.inference.weights import packaged_weights, read_weights
from memnet_basicsr.plugin.option_file import load_yaml

ROOT = Path(__file__).resolve().parents[2]
TESTED_BY = {
    'memnet_denoise': 'test_MemNet_GrayDenoise_BSD',
    'memnet_denoise_color': 'test_MemNet_ColorDenoise_BSD',
    'memnet_jpeg': 'test_MemNet_ColorJPEG_LIVE1',
    'memnet_mixture': 'test_MemNet_ColorMixture_BSD',
    'memnet_sr': 'test_MemNet_SR_BSD_Set5',
    'memorynet_clouds_demo': 'test_MemoryNet_RICE1_small',
}


def test_all_are_there():
    assert sorted(packaged_weights()) == sorted(TESTED_BY)


def last_iteration(description, trained):
    """Last iteration of the log: that of the whole training (a multiple of print_freq), or what the note names."""
    unfinished = re.match(r'iteration (\d+) of', description['note'])
    total = trained['train']['total_iter']
    return int(unfinished.group(1)) // 1000 * 1000 if unfinished else total - total % trained['logger']['print_freq']


@pytest.mark.parametrize('name', TESTED_BY)
def test_description_option_file_log_and_figures_agree(name):
    path = packaged_weights()[name]
    _, description = read_weights(path)
    trained = load_yaml(str(ROOT / 'options' / f'{description["option"]}.yml'))
    tested = load_yaml(str(ROOT / 'options' / f'{TESTED_BY[name]}.yml'))
    assert description['network_g'] == dict(trained['network_g']) == dict(tested['network_g'])
    assert tested['path']['pretrain_network_g'] == name
    assert 'research' in description['note']
    log, results = Path(path).with_suffix('.log').read_text(), (ROOT / 'RESULTS.md').read_text()
    assert f'name: {description["option"]}' in log and f'iter: {last_iteration(description, trained):7,d}' in log
    assert len(description['metrics']) >= 2
    for figure, value in description['metrics'].items():
        assert f'# {figure.split("_")[-1]}: {value:.4f}' in log  # of the last validation
        shown = f'{value:.2f}' if figure.endswith('psnr') else f'{value:.4f}'.lstrip('0')
        assert shown in results, f'RESULTS.md does not have {name}: {figure} {shown}'


@pytest.mark.parametrize('name', TESTED_BY)
def test_loads_through_basicsr(name):
    params, description = read_weights(packaged_weights()[name])
    net = build_network(dict(description['network_g']))
    stock = BaseModel({'num_gpu': 0, 'is_train': False})
    stock.load_network(net, packaged_weights()[name], strict=True, param_key='params')
    assert all(torch.equal(v, params[k]) for k, v in net.state_dict().items())


def enlarged(img, height, width):
    return (resize_bicubic(img[..., None] / 255, height, width)[..., 0] * 255).round().clip(0, 255).astype(np.uint8)


def gain(name, bad, clean, scale=None):
    """PSNR of the restored image and of the degraded one."""
    out = load_restorer(name, device='cpu')(bad, scale)
    shown = bad if scale is None else enlarged(bad, *clean.shape)
    return calculate_psnr(out, clean, 0), calculate_psnr(shown, clean, 0)


def test_denoises_a_color_photograph():
    clean = skimage.data.chelsea()[50:200, 100:250]
    bad = (clean + np.random.default_rng(0).normal(0, 30, clean.shape)).round().clip(0, 255).astype(np.uint8)
    after, before = gain('memnet_denoise', bad, clean)
    assert before < 19 and after > before + 8


def test_removes_blocks():
    clean = np.ascontiguousarray(skimage.data.camera()[:256, 100:356])
    bad = cv2.imdecode(cv2.imencode('.jpg', clean, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], cv2.IMREAD_GRAYSCALE)
    after, before = gain('memnet_jpeg', bad, clean)
    assert after > before + 0.5


def test_restores_a_mixture_better_than_the_networks_for_one_degradation():
    clean = np.ascontiguousarray(skimage.data.coffee()[60:210, 200:350])
    bad = cv2.GaussianBlur(clean, (0, 0), 1) + np.random.default_rng(0).normal(0, 15, clean.shape)
    bad = cv2.imencode('.jpg', bad.round().clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    bad = cv2.imdecode(bad, cv2.IMREAD_COLOR)
    psnr = {name: gain(name, bad, clean)[0] for name in ('memnet_mixture', 'memnet_denoise_color', 'memnet_jpeg')}
    assert psnr.pop('memnet_mixture') > max(psnr.values()) + 1


@pytest.mark.parametrize('name', ['memnet_denoise', 'memnet_denoise_color', 'memnet_jpeg', 'memnet_mixture'])
def test_keeps_a_clean_image(name):
    clean = skimage.data.chelsea()[50:200, 100:250]
    clean = np.ascontiguousarray(clean if name != 'memnet_denoise' else clean[..., 1])
    after, _ = gain(name, clean, clean)
    assert after > 40


@pytest.mark.parametrize('scale', [2, 3, 4])
def test_enlarges(scale):
    clean = skimage.data.camera()[60:204, 150:294]
    after, before = gain('memnet_sr', enlarged(clean, 144 // scale, 144 // scale), clean, scale)
    assert after > before + 0.5


@pytest.mark.skipif(not (ROOT.parent / 'shared/data/rice1_mini').is_dir(), reason='RICE1 is not beside the project')
def test_removes_clouds_and_keeps_clear_images():
    folder = ROOT.parent / 'shared/data/rice1_mini/test'
    pairs = [(cv2.imread(str(v)), cv2.imread(str(folder / 'label' / v.name))) for v in (folder / 'cloud').iterdir()]
    restore = load_restorer('memorynet_clouds_demo', device='cpu')
    gains, kept = [], []
    for bad, clean in pairs:
        gains.append(calculate_psnr(restore(bad[..., ::-1])[..., ::-1], clean, 0) - calculate_psnr(bad, clean, 0))
        kept.append(calculate_psnr(restore(clean[..., ::-1])[..., ::-1], clean, 0))
    assert min(gains) > 5
    assert np.median(kept) > 45  # a bright desert looks cloudy


def test_command_offline(tmp_path, monkeypatch, capsys):
    """A noisy file improves without network access."""

    def refuse(*args, **kwargs):
        raise OSError('no network here')

    monkeypatch.setattr('socket.socket.connect', refuse)
    clean = skimage.data.camera()[100:200, 150:290]
    bad = (clean + np.random.default_rng(1).normal(0, 50, clean.shape)).round().clip(0, 255).astype(np.uint8)
    cv2.imwrite(str(tmp_path / 'noisy.png'), bad)
    assert restore_files([str(tmp_path / 'noisy.png')], str(tmp_path / 'out.png'), 'memnet_denoise') == 0
    out = cv2.imread(str(tmp_path / 'out.png'), cv2.IMREAD_GRAYSCALE)
    assert calculate_psnr(out, clean, 0) > calculate_psnr(bad, clean, 0) + 8
