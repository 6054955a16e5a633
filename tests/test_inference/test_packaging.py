import pytest
import runpy
import sys
import torch
import yaml
from os import path as osp

from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference import load_restorer
from memnet_basicsr.inference.packaging import package_weights
from memnet_basicsr.inference.weights import read_weights

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
NETWORK = {'type': 'MemNet', 'num_feat': 4, 'num_block': 2, 'num_recursion': 2}


@pytest.fixture
def training(tmp_path):
    """A checkpoint with averaged parameters, and its option file."""
    torch.manual_seed(0)
    net = MemNet(num_feat=4, num_block=2, num_recursion=2)
    ema = {k: v + 1 if k == 'ensemble_weight' else v for k, v in net.state_dict().items()}
    torch.save({
        'params': {
            f'module.{k}': v
            for k, v in net.state_dict().items()
        },
        'params_ema': ema
    }, tmp_path / 'g.pth')
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump({'name': 'train_MemNet', 'network_g': NETWORK}))
    return str(tmp_path / 'g.pth'), str(tmp_path / 'opt.yml'), net


def test_averaged_parameters_are_preferred(training, tmp_path):
    checkpoint, opt, net = training
    for key, plus in ((None, 1), ('params_ema', 1), ('params', 0)):
        path = str(tmp_path / 'out.safetensors')
        package_weights(checkpoint, opt, path, key, task='jpeg')
        params, description = read_weights(path)
        assert torch.equal(params['ensemble_weight'], net.ensemble_weight + plus)
        assert description['option'] == 'train_MemNet' and description['color'] == 'half'


def test_memnet_restores_as_in_evaluation(training, tmp_path):
    checkpoint, opt, net = training
    path = str(tmp_path / 'out.pth')
    package_weights(checkpoint, opt, path, 'params', task='denoise')
    img = torch.rand(2, 3, 30, 70)
    with torch.no_grad():
        want = torch.cat([net.eval()(v) for v in img.split(1, 1)], 1)
    assert (load_restorer(path, device='cpu')(img) - want).abs().max() < 1e-5
    # the receptive field of 10 convolutions is 10 pixels on a side, less than 3/8 of the overlap of 28
    assert (load_restorer(path, device='cpu', tile=56)(img) - want).abs().max() < 1e-5


def test_what_does_not_fit_is_refused(training, tmp_path):
    checkpoint, opt, _ = training
    out = str(tmp_path / 'out.pth')
    (tmp_path / 'wide.yml').write_text(yaml.safe_dump({'network_g': dict(NETWORK, num_feat=8)}))
    (tmp_path / 'list.yml').write_text('- a')
    (tmp_path / 'bad.yml').write_text('a: [')
    (tmp_path / 'code.yml').write_text(f'a: !!python/object/apply:os.mkdir [{tmp_path / "owned"}]')
    (tmp_path / 'bad.pth').write_bytes(b'nothing')
    torch.save({'params': {}}, tmp_path / 'noema.pth')
    for args, message in (((checkpoint, str(tmp_path / 'wide.yml')),
                           'does not fit MemNet'), ((checkpoint, str(tmp_path / 'list.yml')), 'no network_g'),
                          ((checkpoint, str(tmp_path / 'bad.yml')),
                           'cannot be read'), ((checkpoint, str(tmp_path / 'missing.yml')),
                                               'cannot be read'), ((checkpoint, str(tmp_path / 'code.yml')),
                                                                   'cannot be read .could not determine a constructor'),
                          ((str(tmp_path / 'bad.pth'), opt), 'damaged'), ((str(tmp_path / 'missing.pth'), opt),
                                                                          'does not exist')):
        with pytest.raises(UsageError, match=message) as error:
            package_weights(*args, out, task='denoise')
        assert '\n' not in str(error.value)
    with pytest.raises(UsageError, match='has no params_ema'):
        package_weights(str(tmp_path / 'noema.pth'), opt, out, 'params_ema', task='denoise')
    assert not osp.exists(out) and not osp.exists(tmp_path / 'owned')


def test_scripts(training, tmp_path, monkeypatch, capsys):
    checkpoint, opt, _ = training

    def run(script, *args):
        monkeypatch.setattr(sys, 'argv', [script, *args])
        runpy.run_path(osp.join(ROOT, 'scripts', script), run_name='__main__')
        return capsys.readouterr().out

    out = str(tmp_path / 'out.safetensors')
    options = ['--checkpoint', checkpoint, '--opt', opt, '--output', out, '--task', 'denoise']
    assert 'written' in run('package_weights.py', *options, '--metric', 'psnr=26.5', 'ssim=0.7', '--range',
                            'sigma=0:75')
    description = read_weights(out)[1]
    assert description['metrics'] == {'psnr': 26.5, 'ssim': 0.7} and description['range'] == {'sigma': [0, 75]}
    pytest.importorskip('onnxruntime')
    assert 'any size, largest difference to torch' in run('export_onnx.py', out, str(tmp_path / 'net.onnx'))
    with pytest.raises(SystemExit, match='export_onnx: weights memnet_nothing: neither a file') as error:
        run('export_onnx.py', 'memnet_nothing', str(tmp_path / 'net.onnx'))
    assert '\n' not in error.value.code
