import importlib.util
import numpy as np
import os
import pytest
import subprocess
import sys
import torch
from os import path as osp

from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.memnet_caffe import convert_caffe_blobs

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
VECTOR = osp.join(ROOT, 'tests', 'data', 'memnet_caffe_m2r3c8.npz')


def load_blobs():
    with np.load(VECTOR) as data:
        return {name.removeprefix('blob:'): data[name] for name in data.files if name.startswith('blob:')}


def script():
    spec = importlib.util.spec_from_file_location('convert_weights', osp.join(ROOT, 'scripts', 'convert_weights.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def convert(*args):
    """Run the script in this process; returns its error line, or None."""
    try:
        script().main(['--network', 'memnet', *map(str, args)])
    except SystemExit as error:
        assert error.code.startswith('Error: ') and '\n' not in error.code  # printed, with exit status 1
        return error.code


@pytest.mark.parametrize('prefix', ['blob:', ''])
def test_converts_to_a_checkpoint_that_restores(tmp_path, capsys, prefix):
    blobs = {f'{prefix}{name}': value for name, value in load_blobs().items()}
    np.savez(tmp_path / 'blobs.npz', **blobs)
    assert convert('--input', tmp_path / 'blobs.npz', '--output', tmp_path / 'net.pth') is None
    printed = capsys.readouterr().out
    assert 'num_block: 2' in printed and 'num_recursion: 3' in printed
    assert sorted(os.listdir(tmp_path)) == ['blobs.npz', 'net.pth']

    state = torch.load(tmp_path / 'net.pth', weights_only=True)['params']
    net = MemNet(num_feat=8, num_block=2, num_recursion=3).eval()
    net.load_state_dict(state)
    with np.load(VECTOR) as data, torch.no_grad():
        np.testing.assert_allclose(net(torch.from_numpy(data['input'])), data['output'], rtol=0, atol=1e-5)


def test_keeps_an_existing_output(tmp_path):
    output = tmp_path / 'net.pth'
    output.write_text('precious')
    assert '--force' in convert('--input', VECTOR, '--output', output)
    assert output.read_text() == 'precious'
    assert convert('--input', VECTOR, '--output', output, '--force') is None
    assert torch.load(output, weights_only=True)['params']


@pytest.mark.parametrize('content, word', [(None, 'not a file'), (b'', 'npz'), (b'no zip at all', 'npz')])
def test_bad_input_file(tmp_path, content, word):
    if content is not None:
        (tmp_path / 'blobs.npz').write_bytes(content)
    assert word in convert('--input', tmp_path / 'blobs.npz', '--output', tmp_path / 'net.pth')
    assert not (tmp_path / 'net.pth').exists()


def test_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    output = tmp_path / 'net.pth'
    output.write_text('precious')

    def fail(*args):
        raise OSError('disk full')

    monkeypatch.setattr(torch, 'save', fail)
    assert 'disk full' in convert('--input', VECTOR, '--output', output, '--force')
    assert output.read_text() == 'precious' and os.listdir(tmp_path) == ['net.pth']


def test_runs_as_a_command(tmp_path):
    command = [sys.executable, osp.join(ROOT, 'scripts', 'convert_weights.py'), '--network', 'memnet']
    result = subprocess.run(
        command + ['--input', 'none.npz', '--output', str(tmp_path / 'net.pth')],
        capture_output=True,
        text=True,
        env={
            **os.environ, 'PYTHONPATH': ROOT
        })
    assert (result.returncode, result.stderr) == (1, 'Error: --input none.npz is not a file\n')


def spoil(name, change):

    def spoiled(blobs):
        blobs[name] = change(blobs[name])

    return spoiled


@pytest.mark.parametrize('change, words', [
    (lambda blobs: blobs.pop('conv_transition_02/0'), ['missing', 'conv_transition_02/0']),
    (lambda blobs: blobs.pop('conv1/0'), ['conv1/0']),
    (lambda blobs: blobs.update({'conv9/0': np.zeros(3)}), ['not part', 'conv9/0']),
    (spoil('scale_conv01_02_a/1', lambda v: v[:-1]), ['shape', 'scale_conv01_02_a/1', '(7,)', '(8,)']),
    (spoil('conv_transition_01/0', lambda v: v.transpose(1, 0, 2, 3)), ['shape', 'conv_transition_01/0']),
    (spoil('conv02_03_b/0', lambda v: v + 1e-3), ['conv02_01_b/0', 'conv02_03_b/0', 'differ']),
    (spoil('conv_end_02/1', lambda v: v + 1), ['conv_end_01/1', 'conv_end_02/1', 'differ']),
    (spoil('bn_conv1/1', lambda v: v * np.nan), ['finite', 'bn_conv1/1']),
    (spoil('bn_conv_end_01/2', lambda v: v * 0), ['bn_conv_end_01/2']),
])
def test_refuses_blobs_by_name(change, words):
    blobs = load_blobs()
    change(blobs)
    with pytest.raises(UsageError) as error:
        convert_caffe_blobs(blobs)
    message = str(error.value)
    assert '\n' not in message and all(word in message for word in words), message


def test_old_vector_shapes_and_scale_factor():
    blobs = load_blobs()
    expected = convert_caffe_blobs(blobs)[1]
    for name in blobs:
        if blobs[name].ndim == 1:  # as old versions of Caffe store them
            blobs[name] = blobs[name].reshape(1, 1, 1, -1)
    for index in range(3):  # mean, variance and the factor they are divided by
        blobs[f'bn_conv01_01_a/{index}'] = 4 * blobs[f'bn_conv01_01_a/{index}']
    for key, value in convert_caffe_blobs(blobs)[1].items():
        torch.testing.assert_close(value, expected[key], rtol=1e-6, atol=0)
