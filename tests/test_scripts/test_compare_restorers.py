import cv2
import numpy as np
import pytest
import runpy
import skimage.data
from os import path as osp
from PIL import Image

from basicsr.metrics import calculate_psnr
from basicsr.utils.matlab_functions import imresize
from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.inference.backends import PRECISIONS, is_installed
from memnet_basicsr.inference.description import describe
from memnet_basicsr.inference.export import export_onnx
from memnet_basicsr.inference.weights import write_weights

SCRIPT = osp.join(osp.dirname(osp.abspath(__file__)), '../../scripts/compare_restorers.py')


@pytest.fixture
def compare(tmp_path, capsys):
    """Run the script on two images; return the rows of its table by method."""
    (tmp_path / 'clean').mkdir()
    for name, img in (('a', skimage.data.camera()[100:160, 200:272]), ('b', skimage.data.chelsea()[50:98, 100:160])):
        Image.fromarray(img).save(tmp_path / 'clean' / f'{name}.png')
    main = runpy.run_path(SCRIPT)['main']

    def run(*argv):
        main(['--clean', str(tmp_path / 'clean'), *map(str, argv)])
        rows = [[v.strip() for v in line.split('|')[1:-1]] for line in capsys.readouterr().out.splitlines()]
        return {row[0]: row[1:] for row in rows[2:]}

    return run


def test_noise(compare, tmp_path):
    rows = compare('--level', 'sigma=25', '--methods', 'nlm', '--count', 1, '--published', 'BSD68')
    # neither clipped nor rounded: the PSNR of the noise is that of its standard deviation
    assert abs(float(rows['input'][0]) - 20 * np.log10(255 / 25)) < 0.15
    assert float(rows['nlm'][0]) > float(rows['input'][0]) + 4
    assert rows['DnCNN-B, blind'][0] == '29.16' and 'measured, 1 images' in rows['nlm'][-1]
    assert 'MemNet' not in rows  # its paper has no figure for 25
    color = compare('--level', 'sigma=25', '--color', 'rgb', '--methods', 'nlm')
    assert float(color['nlm'][0]) > float(color['input'][0]) + 4


def test_bm3d(compare):
    pytest.importorskip('bm3d')
    rows = compare('--level', 'sigma=25', '--count', 1)
    assert float(rows['bm3d'][0]) > max(float(rows['nlm'][0]), 27)


def test_super_resolution(compare, tmp_path, identity):
    rows = compare('--level', 'scale=3', '--count', 1, '--weights', identity, '--published', 'Set5')
    clean = cv2.imread(str(tmp_path / 'clean/a.png'), cv2.IMREAD_GRAYSCALE)
    large = (imresize(imresize(clean / 255, 1 / 3), 3) * 255).round().clip(0, 255)
    assert rows['bicubic'][0] == f'{calculate_psnr(large[..., None], clean[..., None], 3):.2f}'
    assert abs(float(rows['lanczos'][0]) - float(rows['bicubic'][0])) < 1 and rows['VDSR'][0] == '33.66'
    assert rows['sr'][0] == rows['bicubic'][0] and rows['sr'][2] == '0 K'  # the network returns its input


def test_jpeg(compare, tmp_path):
    rows = compare('--level', 'quality=10', '--count', 1)
    clean = cv2.imread(str(tmp_path / 'clean/a.png'), cv2.IMREAD_GRAYSCALE)
    lq = cv2.imdecode(cv2.imencode('.jpg', clean, [cv2.IMWRITE_JPEG_QUALITY, 10])[1], cv2.IMREAD_GRAYSCALE)
    assert rows['input'][0] == f'{calculate_psnr(lq[..., None], clean[..., None], 0):.2f}'


@pytest.fixture
def identity(tmp_path):
    """Weights of a MemNet that returns its enlarged input."""
    net = MemNet(num_feat=2, num_block=1, num_recursion=1)
    net.recon_conv.weight.data.zero_()
    net.recon_conv.bias.data.zero_()
    network = {'type': 'MemNet', 'num_feat': 2, 'num_block': 1, 'num_recursion': 1}
    path = str(tmp_path / 'sr.pth')
    write_weights(path, net.state_dict(), describe({'network_g': network}, 'sr', scale=[3]))
    return path


@pytest.mark.parametrize('backend', [v for v in PRECISIONS if is_installed(v)])
def test_exported_networks(compare, tmp_path, identity, backend):
    exported = str(tmp_path / 'exported.onnx')
    export_onnx(identity, exported)
    rows = compare('--level', 'scale=3', '--count', 1, '--weights', identity, exported, '--backend', backend)
    assert rows['exported'][:2] == rows['sr'][:2] == rows['bicubic'][:2] and rows['exported'][2] == '-'
    assert float(rows['exported'][3]) >= 0


@pytest.mark.parametrize('argv, message', [
    (['--level', 'blur=3'], '--level blur=3: give sigma=N'),
    (['--level', 'sigma=25', '--color', 'y'], '--color y: sigma is compared in gray or rgb'),
    (['--level', 'quality=10', '--methods', 'nlm'], '--methods nlm: not a method for quality'),
    (['--level', 'sigma=25', '--published', 'Set5'], '--published Set5: its figures are for scale'),
    (['--level', 'sigma=25', '--count', '0'], '--count 0: must be positive'),
    (['--level', 'sigma=25', '--weights', 'nothing'], 'weights nothing: neither a file'),
])
def test_user_errors_are_one_line(compare, argv, message):
    with pytest.raises(SystemExit) as error:
        compare(*argv)
    assert error.value.code.startswith(f'compare_restorers: {message}') and '\n' not in error.value.code
