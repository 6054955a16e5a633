import json
import numpy as np
import pytest
import sys
import torch
from torch import nn as nn

from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.description import describe
from memnet_basicsr.inference.export import export_onnx
from memnet_basicsr.inference.weights import ARCH_REGISTRY, write_weights

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

MEMNET = {'type': 'MemNet', 'num_feat': 4, 'num_block': 2, 'num_recursion': 2}
MEMORYNET = {'type': 'MemoryNet', 'num_feat': 8, 'scale_unetfeats': 4, 'scale_orsnetfeats': 4, 'num_cab': 1}


def weights_of(network, tmp_path, task='denoise'):
    torch.manual_seed(0)
    args = dict(network)
    net = ARCH_REGISTRY.get(args.pop('type'))(**args)
    for module in net.modules():  # statistics that differ from the initial ones
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    path = str(tmp_path / 'w.pth')
    write_weights(path, net.state_dict(), describe({'network_g': network}, task))
    return path, net.eval()


@pytest.mark.parametrize('network', [
    MEMNET,
    dict(MEMNET, multi_supervised=False, num_in_ch=3),
    MEMORYNET,
    dict(MEMORYNET, memory='none'),
    dict(MEMORYNET, memory='released'),
    {
        'type': 'MSRResNet',
        'num_feat': 4,
        'num_block': 1,
        'upscale': 2
    },
    {
        'type': 'RRDBNet',
        'num_in_ch': 1,
        'num_out_ch': 1,
        'scale': 1,
        'num_feat': 4,
        'num_block': 1,
        'num_grow_ch': 4
    },
])
def test_exported_networks_give_what_torch_gives(network, tmp_path):
    path, net = weights_of(network, tmp_path)
    out_path = str(tmp_path / 'net.onnx')
    result = export_onnx(path, out_path)
    assert result['difference'] < 1e-4
    # another size and batch than those of the export
    session = onnxruntime.InferenceSession(out_path, providers=['CPUExecutionProvider'])
    channels = session.get_inputs()[0].shape[1]
    img = torch.rand(3, channels, 24, 52)
    with torch.no_grad():
        want = net(img).numpy()
    np.testing.assert_allclose(session.run(None, {'lq': img.numpy()})[0], want, atol=1e-4)
    metadata = {v.key: v.value for v in onnx.load(out_path).metadata_props}
    assert json.loads(metadata['memnet_basicsr'])['network_g'] == network


def test_a_network_that_cannot_follow_is_not_written(tmp_path):

    class BakedForTests(nn.Module):
        """Network whose output depends on the size in a way that a trace does not record."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, x):
            return x * self.weight * int(x.shape[2])

    if 'BakedForTests' not in ARCH_REGISTRY:
        ARCH_REGISTRY.register(BakedForTests)
    path, _ = weights_of({'type': 'BakedForTests'}, tmp_path)
    with pytest.raises(UsageError, match='not written'):
        export_onnx(path, str(tmp_path / 'net.onnx'))
    assert not (tmp_path / 'net.onnx').exists()


def test_missing_packages(tmp_path, monkeypatch):
    path, _ = weights_of(MEMNET, tmp_path)
    monkeypatch.setitem(sys.modules, 'onnxruntime', None)
    assert export_onnx(path, str(tmp_path / 'net.onnx'))['difference'] is None
    monkeypatch.setitem(sys.modules, 'onnx', None)
    with pytest.raises(UsageError, match='pip install onnx'):
        export_onnx(path, str(tmp_path / 'net.onnx'))
