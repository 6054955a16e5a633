import cv2
import importlib.util
import json
import numpy as np
import os
import pytest
import re
import subprocess
import sys
import torch
from pathlib import Path

from memnet_basicsr.analysis.memory.gate_norms import gate_norms
from memnet_basicsr.analysis.networks import load_memnet
from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.description import describe
from memnet_basicsr.inference.weights import build_untrained, write_weights

ROOT = Path(__file__).resolve().parents[2]
NETWORK = {'type': 'MemNet', 'num_feat': 4, 'num_block': 2, 'num_recursion': 2}


def script(name):
    """Run the main function of a script in this process."""
    spec = importlib.util.spec_from_file_location(name, ROOT / 'scripts' / 'analysis' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *args: module.main([str(v) for v in args])


@pytest.fixture
def make_net(tmp_path):
    """Write checkpoint and option file of a network; returns both paths and the network."""

    def make(name='net', **kwargs):
        network = {**NETWORK, **kwargs}
        torch.manual_seed(0)
        net = MemNet(**{k: v for k, v in network.items() if k != 'type'})
        net.train()(torch.rand(2, net.recon_conv.out_channels, 16, 16))
        torch.save({'params': net.state_dict()}, tmp_path / f'{name}.pth')
        (tmp_path / f'{name}.yml').write_text(json.dumps({'name': name, 'network_g': network}))
        return tmp_path / f'{name}.pth', tmp_path / f'{name}.yml', net.eval()

    return make


@pytest.fixture
def clean_images(tmp_path):
    folder = tmp_path / 'images'
    folder.mkdir()
    for i in range(3):
        img = np.random.RandomState(i).randint(0, 256, (10, 11, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / f'{i}.png'), cv2.resize(img, (70, 66), interpolation=cv2.INTER_CUBIC))
    return folder


def check_png(path):
    """An image of 1000 pixels width that is not blank, without temporary files beside it."""
    img = cv2.imread(str(path))
    assert img.shape[1] == 1000 and img.std() > 10
    assert not [v for v in os.listdir(path.parent) if v.endswith(('.part', '.tmp'))]


def numbers(pattern, text):
    return [float(v) for v in re.findall(pattern, text)]


@pytest.mark.parametrize('kwargs', [{}, {'long_term': False}, {'short_term': False}, {'num_block': 5}])
def test_gate_norms(make_net, tmp_path, capsys, kwargs):
    weights, opt, net = make_net(**kwargs)
    script('gate_norms')('--weights', weights, '--opt', opt, '--output', tmp_path / 'gate.png')
    means = [v.mean() for norms in gate_norms(net) for v in norms.values()]
    out = capsys.readouterr().out
    assert numbers(r'[BH]\d+ (\S+)', out) == pytest.approx(means, abs=1e-3)
    check_png(tmp_path / 'gate.png')


def test_gate_norms_of_weights_with_a_description(make_net, tmp_path):
    net = make_net()[2]
    path = tmp_path / 'weights.safetensors'
    write_weights(str(path), net.state_dict(), describe({'network_g': NETWORK}, 'denoise'))
    script('gate_norms')('--weights', path, '--output', tmp_path / 'gate.png', '--scaled')
    check_png(tmp_path / 'gate.png')


def test_params_ema_is_preferred(make_net, tmp_path):
    weights, opt, net = make_net()
    params = net.state_dict()
    ema = {**params, 'ensemble_weight': torch.tensor([3., 4.])}
    torch.save({'params': params, 'params_ema': {f'module.{k}': v for k, v in ema.items()}}, weights)
    assert load_memnet(str(weights), str(opt), 'cpu').ensemble_weight.tolist() == [3, 4]


@pytest.mark.parametrize('level, draws', [('sigma=50', True), ('downscale=2', False)])
def test_feature_spectrum(make_net, clean_images, tmp_path, capsys, level, draws):
    nets = [make_net('with'), make_net('without', long_term=False)]
    script('feature_spectrum')('--weights', *(v[0] for v in nets), '--opt', *(v[1] for v in nets), '--name', 'MemNet',
                               'MemNet_NL', '--images', clean_images, '--level', level, '--output',
                               tmp_path / 'spectrum.png', '--device', 'cpu')
    lines = [v for v in capsys.readouterr().out.splitlines() if 'high frequencies' in v]
    assert [v.split()[:2] for v in lines] == [[name, f'B{m}'] for name in ('MemNet', 'MemNet_NL') for m in range(3)]
    assert all(('common' in v) == draws for v in lines)
    check_png(tmp_path / 'spectrum.png')


@pytest.mark.parametrize('name, args, words', [
    ('gate_norms', ['--weights', 'none.pth', '--opt', '{opt}'], 'none.pth'),
    ('gate_norms', ['--weights', '{weights}'], 'carries no description'),
    ('gate_norms', ['--weights', '{weights}', '--opt', 'none.yml'], 'none.yml does not exist'),
    ('gate_norms', ['--weights', '{weights}', '--opt', '{other}'], 'does not fit MemNet'),
    ('gate_norms', ['--weights', '{edsr}', '--opt', '{edsr_opt}'], 'network_g is EDSR'),
    ('gate_norms', ['--weights', '{opt}', '--opt', '{opt}'], 'cannot be loaded'),
    ('gate_norms', ['--weights', '{weights}', '--opt', '{opt}', '--output', 'gate.pdf'], 'PNG'),
    ('feature_spectrum', ['--weights', '{weights}', '--opt', '{opt}', '--images', '{folder}', '--level', 'blur=5'],
     'level blur=5'),
    ('feature_spectrum', ['--weights', '{weights}', '--opt', '{opt}', '--images', 'none', '--level', 'sigma=50'],
     'none does not exist'),
    ('feature_spectrum', ['--weights', '{weights}', '--opt', '{opt}', '--images', '{folder}', '--level',
                            'sigma=50', '--max-images', '0'], 'must be positive'),
    ('feature_spectrum', ['--weights', '{weights}', '--opt', '{opt}', '--images', '{folder}', '--level',
                            'sigma=50', '--device', 'nothing'], 'device nothing'),
    ('feature_spectrum', ['--weights', '{weights}', '{weights}', '--opt', '{opt}', '--images', '{folder}', '--level',
                          'sigma=50'], '--opt: 1 given for 2'),
    ('feature_spectrum', ['--weights', *['{weights}'] * 3, '--images', '{folder}', '--level', 'sigma=50'], '3 files'),
])  # yapf: disable
def test_errors_are_one_line(make_net, clean_images, tmp_path, name, args, words):
    weights, opt, _ = make_net()
    _, other, _ = make_net('other', num_block=3)
    edsr = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1}
    net = build_untrained(edsr, 'test')
    torch.save({'params': net.state_dict()}, tmp_path / 'edsr.pth')
    (tmp_path / 'edsr.yml').write_text(json.dumps({'name': 'edsr', 'network_g': edsr}))
    known = {
        'weights': weights,
        'opt': opt,
        'other': other,
        'edsr': tmp_path / 'edsr.pth',
        'edsr_opt': tmp_path / 'edsr.yml',
        'folder': clean_images
    }
    output = [] if '--output' in args else ['--output', str(tmp_path / 'figure.png')]
    with pytest.raises(UsageError, match=re.escape(words)) as error:
        script(name)(*(v.format(**known) for v in args), *output)
    assert '\n' not in str(error.value)
    assert not list(tmp_path.glob('*.png'))


def test_runs_as_a_command(tmp_path):
    command = [sys.executable, ROOT / 'scripts' / 'analysis' / 'gate_norms.py', '--weights', 'none.pth', '--output']
    result = subprocess.run([*command, tmp_path / 'gate.png'],
                            capture_output=True,
                            text=True,
                            check=False,
                            env={
                                **os.environ, 'PYTHONPATH': str(ROOT)
                            })
    assert result.returncode == 1 and re.fullmatch(r'Error: weights none\.pth: .*\n', result.stderr)
