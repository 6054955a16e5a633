import pytest
import torch

from basicsr.archs.memory_util import LEVELS, HierarchicalMemory, RunningScaler
from basicsr.archs.memorynet_arch import MemoryNet
from basicsr.archs.mprnet_arch import MPRNet

SMALL = dict(num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1, reduction=1)


def test_hierarchical_memory():
    """Test HierarchicalMemory: prototypes of each level, and reads against the formula."""

    torch.manual_seed(0)
    memory = HierarchicalMemory(num_feat=4, num_class=3, num_instance=2, num_part=5, threshold=0.1)
    assert [len(memory.prototypes(v)) for v in LEVELS] == [30, 6, 3]
    feat = torch.randn(7, 4)
    for level in LEVELS:
        prototypes = memory.prototypes(level)
        cosine = torch.cosine_similarity(feat[:, None], prototypes[None], dim=-1)
        weight = torch.softmax(cosine / 0.1, dim=-1)
        weight = torch.where(weight >= torch.clamp(weight.max(dim=-1, keepdim=True)[0], max=0.1), weight, weight * 0)
        weight = weight / weight.sum(dim=-1, keepdim=True)
        assert torch.allclose(memory.address(feat, level), weight, atol=1e-6)
        assert torch.allclose(memory.read(feat, level), weight @ prototypes, atol=1e-5)
    chained = memory.read(memory.read(feat, 'part'), 'instance')
    assert torch.allclose(memory.read(feat, 'instance', chained=True), chained, atol=1e-6)
    # a summary lies between its prototypes
    parts, instances = memory.prototypes('part').view(6, 5, 4), memory.prototypes('instance')
    assert (parts.min(dim=1)[0] <= instances).all() and (instances <= parts.max(dim=1)[0]).all()
    with pytest.raises(ValueError):
        HierarchicalMemory(top='part').prototypes('semantic')


def test_running_scaler():
    """Test RunningScaler: its statistics are those of all batches so far, and change in training only."""

    scaler, batches = RunningScaler(3), 5 + 2 * torch.randn(8, 100, 3)
    outputs = [scaler(v) for v in batches]
    scaler(batches[0] + 9, update=False)
    scaler.eval()(batches[0] + 9)
    feats = batches.view(-1, 3)
    assert torch.allclose(scaler.mean, feats.mean(0), atol=1e-4)
    assert torch.allclose(scaler.var, feats.var(0, unbiased=False), atol=1e-4)
    expected = (batches[-1] - feats.mean(0)) / (feats.var(0, unbiased=False) + 1e-5).sqrt()
    assert torch.allclose(outputs[-1], expected, atol=1e-4)


def test_memorynet():
    """Test arch: MemoryNet. It starts as MPRNet, and its memory is trained."""

    torch.manual_seed(0)
    net = MemoryNet(reconstruction=True, memory_opt=dict(centred=True), **SMALL)
    backbone = MPRNet(**SMALL)
    backbone.load_state_dict(net.state_dict(), strict=False)
    img = torch.rand((1, 3, 13, 20), dtype=torch.float32)
    assert torch.allclose(net.eval()(img), backbone.eval()(img))
    assert net.reconstruct(img).shape == img.shape

    # each parameter gets a gradient, after the first step
    for param in net.parameters():
        if param.abs().sum() == 0:
            torch.nn.init.normal_(param)
    net.train()
    loss = sum((v - img).abs().mean() for v in net(img)) + ((net.reconstruct(img) - img)**2).mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


@pytest.mark.parametrize('insert', [['encoder3', 'decoder3'], ['encoder2'], ['encoder3', 'decoder1']])
def test_memorynet_reconstruct(insert):
    """Test arch: reconstruct depends on the image through the reads only, and keeps the statistics of forward."""

    memory_opt = dict(centred=True)
    net = MemoryNet(insert=insert, reconstruction=True, memory_opt=memory_opt, **SMALL).eval()
    img = torch.rand((1, 3, 16, 16), dtype=torch.float32)
    assert not torch.equal(net.reconstruct(img), net.reconstruct(1 - img))
    buffers = [v.clone() for v in net.buffers()]
    net.train().reconstruct(img)
    assert all(torch.equal(v, w) for v, w in zip(net.buffers(), buffers))
    with torch.no_grad():
        net.memory.weight.zero_()
    assert torch.equal(net.reconstruct(img), net.reconstruct(1 - img))


def test_memorynet_arguments():
    """Test arch: MemoryNet with other levels and places, and wrong arguments."""

    img = torch.rand((1, 3, 16, 16), dtype=torch.float32)
    net = MemoryNet(levels=[None, 'part', 'part'], insert=['encoder1', 'decoder2'], chained=True, replace=True, **SMALL)
    assert sorted(net.insertions) == ['stage2_decoder2', 'stage2_encoder1', 'stage3_decoder', 'stage3_encoder']
    assert net.eval()(img).shape == img.shape
    with torch.no_grad():  # the image without the memory, whose read replaces the features
        for insertion in net.insertions.values():
            insertion.proj_out.weight.zero_()
    assert torch.allclose(net(img), img, atol=1e-6)
    for kwargs in (dict(levels=[None]), dict(levels=['pixel']), dict(insert=[]), dict(insert=['encoder4']),
                   dict(levels=[None, 'part'], reconstruction=True)):
        with pytest.raises(ValueError):
            MemoryNet(**kwargs, **SMALL)
