"""Networks on inference engines give what torch gives."""
import json
import numpy as np
import onnx
import pytest
import subprocess
import sys
import torch
from os import path as osp
from PIL import Image

from memnet_basicsr.engine.checkpoint import load
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference import Inference, backends, load_restorer
from memnet_basicsr.inference.backends import PRECISIONS, Engine, is_installed, select_backend
from memnet_basicsr.inference.cli import main
from memnet_basicsr.inference.onnx_graph import to_onnx
from tests.networks import NETWORKS, build, image

INSTALLED = [v for v in PRECISIONS if is_installed(v)]
every_backend = pytest.mark.parametrize('backend', INSTALLED)


@pytest.fixture(autouse=True)
def hub(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    return tmp_path / 'torch' / 'hub' / 'memnet_basicsr' / 'backends.json'


@pytest.mark.parametrize('name', [
    'MemNet', 'MemNet basic', 'MemNet_NL_NS', 'MemNet unshared', 'MemNet unshuffle', 'MemoryNet released', 'MemoryNet',
    'MemoryAugmented', 'MemoryAugmented MemNet'
])
def test_every_installed_engine_equals_torch(name):
    net = build(name).eval()
    graph = to_onnx(net, NETWORKS[name])
    engines = [Engine(v, graph) for v in INSTALLED]
    # other sizes than the traced one, also below and not a multiple of the padding
    for size in ((16, 24), (37, 10), (23, 72)):
        size = [-(-v // graph.multiple) * graph.multiple for v in size]
        x = image(net, *size)
        with torch.no_grad():
            want = net(x)
        for engine in engines:
            out = engine(x)
            assert out.dtype == torch.float32
            scale = want.abs().max().clamp(min=1)  # some of these random networks amplify
            torch.testing.assert_close(out / scale, want / scale, rtol=0, atol=1e-4)


def test_the_graph_is_the_inference_form():
    """Gates are sums, and BatchNorms between two convolutions are folded."""
    net = build('MemNet').eval()
    kinds = [v.op_type for v in onnx.load_from_string(to_onnx(net, NETWORKS['MemNet']).content).graph.node]
    blocks, recursions = 3, 2
    sources = sum(m + recursions for m in range(1, blocks + 1))
    assert 'Concat' not in kinds
    assert kinds.count('BatchNormalization') == 1 + blocks * recursions + sources + blocks
    assert kinds.count('Conv') == 1 + 2 * blocks * recursions + sources + blocks


def test_openvino_takes_the_precision_it_is_given():
    pytest.importorskip('openvino')
    net = build('MemNet').eval()
    graph, x = to_onnx(net, NETWORKS['MemNet']), image(net)
    with torch.no_grad():
        want = net(x)
    error = (Engine('openvino', graph, 'bf16')(x) - want).std() / want.std()
    assert error < 0.1  # 0 where the processor has no bfloat16


@every_backend
def test_restorer_with_tiles_and_ensemble(make_weights, backend):
    path, img = make_weights(), np.random.default_rng(0).random((40, 33), np.float32)
    for options in ({}, {'tile': 16}, {'ensemble': True}):
        want = load_restorer(path, device='cpu', **options)(img)
        restorer = load_restorer(path, device='cpu', backend=backend, **options)
        assert isinstance(restorer.net, Engine) and restorer.backend == backend
        np.testing.assert_allclose(restorer(img), want, atol=1e-4)


def test_channels_without_an_argument_for_them(make_weights):
    """A network that is built with its default of one channel."""
    img = np.random.default_rng(0).random((9, 8, 3), np.float32)
    for backend in INSTALLED:
        assert load_restorer(make_weights(), backend=backend, device='cpu').in_channels == 1
        want = load_restorer(make_weights(), device='cpu')(img)
        np.testing.assert_allclose(load_restorer(make_weights(), backend=backend, device='cpu')(img), want, atol=1e-4)


@pytest.mark.parametrize('backend, options, message', [
    ('tensorrt', {}, "'tensorrt' is not known"),
    ('onnxruntime', dict(precision='bf16'), 'onnxruntime: computes in fp32, not in bf16'),
    ('openvino', dict(precision='fp16'), 'openvino: computes in fp32 or bf16, not in fp16'),
    ('openvino', dict(device='cuda:1'), 'openvino: runs on the CPU only, not on cuda:1'),
])
def test_what_a_backend_cannot_do(make_weights, backend, options, message):
    with pytest.raises(UsageError, match=message):
        load_restorer(make_weights(), backend=backend, **{'device': 'cpu', **options})


@every_backend
def test_missing_package(make_weights, monkeypatch, backend):
    monkeypatch.setitem(__import__('sys').modules, backend, None)
    with pytest.raises(UsageError, match=rf'is not installed \(pip install onnx {backend}\)'):
        load_restorer(make_weights(), backend=backend, device='cpu')


@every_backend
def test_networks_that_no_engine_can_run(make_weights, backend):
    path = make_weights('restore', local_statistics=64)
    with pytest.raises(UsageError, match='local statistics'):
        load_restorer(path, backend=backend, device='cpu')
    assert load_restorer(path, backend='auto', device='cpu').backend.startswith('torch (an engine cannot run')
    graph = to_onnx(build('MemNet').eval(), NETWORKS['MemNet'])
    with pytest.raises(UsageError, match='cannot run the network'):
        Engine(backend, graph._replace(content=graph.content[:1000]))


def test_auto_measures_once(hub, monkeypatch):
    net, calls = build('MemNet').eval(), []
    measured = dict.fromkeys(['torch', *INSTALLED], 2.)

    def measure(net, network_opt, inference, engines):
        calls.append(engines)
        return {**measured, fastest: 1.}, {}

    monkeypatch.setattr(backends, '_measure', measure)

    def select(precision='fp32'):
        return select_backend('auto', net, NETWORKS['MemNet'], Inference(precision=precision), 'cpu')

    for fastest in (INSTALLED[0], 'torch'):
        hub.unlink(missing_ok=True)
        chosen, line = select()
        assert chosen is net if fastest == 'torch' else chosen.backend == fastest
        assert line.startswith(f'{fastest}, 1.000 s for') and line.endswith('measured now')
        again = select()[1]
        assert again.startswith(f'{fastest}, 1.000 s for') and again.endswith(f'as in {hub}')
    assert len(calls) == 2
    select('bf16')
    assert len(calls) == 3 and 'onnxruntime' not in calls[-1]
    for damaged in ('{"half', '[1]', '{"MemNet": {"torch": "fast"}}', '{"MemNet": {}}', '\0'):
        hub.write_text(damaged)
        assert select()[1].endswith(f'measured now ({hub} was damaged)')
    assert len(calls) == 8 and list(json.loads(hub.read_text()).values()) == [{**measured, 'torch': 1.}]


def test_auto_by_measuring():
    net = build('MemNet').eval()
    x = image(net)
    chosen, line = select_backend('auto', net, NETWORKS['MemNet'], Inference(), 'cpu')
    with torch.no_grad():
        torch.testing.assert_close(chosen(x), net(x), rtol=1e-4, atol=1e-4)
    assert all(v in line for v in INSTALLED)


def test_auto_leaves_out_an_engine_that_differs(monkeypatch):
    forward = Engine.forward
    monkeypatch.setattr(Engine, 'forward', lambda self, x: forward(self, x) + 1e-3)
    net = build('MemNet').eval()
    chosen, line = select_backend('auto', net, NETWORKS['MemNet'], Inference(), 'cpu')
    assert chosen is net and not any(v in line for v in INSTALLED)


def test_the_command(make_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30), np.uint8)).save('in.png')
    try:
        for backend in ('torch', 'auto', *INSTALLED):
            options = ['-i', 'in.png', '-o', f'{backend}.png', '-w', make_weights(), '--device', 'cpu']
            assert main([*options, '--backend', backend, '--threads', '1']) == 0
            out, want = (np.array(Image.open(f'{v}.png')).astype(int) for v in (backend, 'torch'))
            assert abs(out - want).max() <= 1
            assert ('backend: ' in capsys.readouterr().out) == (backend == 'auto')
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)


def test_an_exported_network_is_not_trained(tmp_path):
    path = str(tmp_path / 'net.onnx')
    with pytest.raises(UsageError, match='is an exported network, which cannot be trained; use the'):
        load(path)
    assert not osp.exists(path)


@pytest.mark.skipif('openvino' not in INSTALLED, reason='openvino is not installed')
def test_signals_are_handled_after_openvino_has_gone():
    code = """
import gc, signal, subprocess
import memnet_basicsr
from basicsr.archs import build_network
from memnet_basicsr.inference.backends import Engine
from memnet_basicsr.inference.onnx_graph import to_onnx
opt = dict(type='MemNet', num_feat=4, num_block=1, num_recursion=1)
graph = to_onnx(build_network(opt).eval(), opt)
first, second = Engine('openvino', graph), Engine('openvino', graph)
del first
gc.collect()
del second
gc.collect()
signal.signal(signal.SIGCHLD, lambda *args: print('handled'))
subprocess.run(['true'])
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 0 and 'handled' in done.stdout, done.stderr
