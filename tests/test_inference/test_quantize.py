import cv2
import numpy as np
import onnx
import pytest

from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference import backends, load_restorer
from memnet_basicsr.inference.description import describe
from memnet_basicsr.inference.export import export_onnx
from memnet_basicsr.inference.weights import write_weights
from tests.networks import NETWORKS, build

pytest.importorskip('onnxruntime')
INSTALLED = [v for v in backends.PRECISIONS if backends.is_installed(v)]


@pytest.fixture
def weights(tmp_path):
    """MemNet as a denoiser, and a folder of noisy images."""
    name = 'MemNet unshuffle'
    path, network = str(tmp_path / 'w.pth'), NETWORKS[name]
    write_weights(path, build(name).state_dict(), describe({'network_g': network}, 'denoise'))
    generator = np.random.default_rng(0)
    (tmp_path / 'noisy').mkdir()
    for i in range(4):
        img = generator.integers(0, 256, (20 + i, 30, 3), np.uint8)
        cv2.imwrite(str(tmp_path / 'noisy' / f'{i}.png'), cv2.GaussianBlur(img, (0, 0), 2))
    return path, str(tmp_path / 'noisy')


def test_quantized_networks_run_on_every_engine(weights, tmp_path):
    path, folder = weights
    out = str(tmp_path / 'int8.onnx')
    result = export_onnx(path, out, calibrate=folder)
    assert result['difference'] < 1e-4 and result['psnr'] > 20

    nodes = onnx.load(out).graph.node
    made = {v.output[0]: v for v in nodes}
    quantized = [made[v.input[0]].op_type == 'DequantizeLinear' for v in nodes if v.op_type == 'Conv']
    # all but the first one and the three of the outputs, whose order is that of the blocks
    assert not quantized[0] and quantized.count(False) == 4
    assert quantized == [v.input[1] in made for v in nodes if v.op_type == 'Conv']  # the weights, too

    img = cv2.imread(f'{folder}/1.png').astype(np.float32) / 255
    want = load_restorer(path, device='cpu')(img)
    results = [load_restorer(out, device='cpu', backend=v)(img) for v in (*INSTALLED, 'auto')]
    for got in results:
        assert got.shape == img.shape and np.abs(got - want).max() > 1e-5  # it is int8
        error = np.mean((got.clip(0, 1) - want.clip(0, 1))**2)
        assert -10 * np.log10(error) == pytest.approx(result['psnr'], abs=5)


def test_what_cannot_be_done_with_exported_networks(weights, tmp_path, monkeypatch):
    path, _ = weights
    out = tmp_path / 'net.onnx'
    export_onnx(path, str(out))
    with pytest.raises(UsageError, match='torch: does not run exported networks; use --backend auto'):
        load_restorer(str(out))
    with pytest.raises(UsageError, match='not on cuda'):
        load_restorer(str(out), backend='auto', device='cuda')
    plain = onnx.load(str(out))
    del plain.metadata_props[:]
    for content, message in ((plain.SerializeToString(), 'has no description'), (out.read_bytes()[:500], 'is damaged')):
        (tmp_path / 'other.onnx').write_bytes(content)
        with pytest.raises(UsageError, match=message):
            load_restorer(str(tmp_path / 'other.onnx'), backend='auto')
    with pytest.raises(UsageError, match='cannot be read'):
        load_restorer(str(tmp_path / 'none.onnx'), backend='auto')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(UsageError):
        export_onnx(path, str(tmp_path / 'int8.onnx'), calibrate=str(tmp_path / 'empty'))
    monkeypatch.setattr(backends, 'is_installed', lambda name: False)
    with pytest.raises(UsageError, match='is installed'):
        load_restorer(str(out), backend='auto', device='cpu')
