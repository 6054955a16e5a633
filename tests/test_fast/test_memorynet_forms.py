"""Blocks of MemoryNet that are faster or smaller, against the plain ones."""
import copy
import pytest
import torch
import weakref
from torch import nn
from torch.nn import functional as F

from memnet_basicsr import fast
from memnet_basicsr.archs.memory_util import HierarchicalMemory
from memnet_basicsr.archs.memorynet_arch import MemoryNet
from memnet_basicsr.archs.mprnet_util import CAB, Resample
from memnet_basicsr.fast import memorynet_deploy, winograd_util
from memnet_basicsr.fast.memorynet_deploy import ChunkedMemory, image_mean
from memnet_basicsr.fast.memorynet_training import RecomputedBlocks, channels_last, conv1x1, prelu_, upsample
from memnet_basicsr.inference import Inference

SMALL = dict(num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=2)


def make(**kwargs):
    """A MemoryNet whose memory has an effect."""
    torch.manual_seed(0)
    net = MemoryNet(**{**SMALL, **kwargs})
    for insertion in net.insertions.values():
        nn.init.normal_(insertion.proj_out.weight, std=0.05)
    return net


@pytest.mark.parametrize('kwargs', [
    dict(memory='none'),
    dict(memory='none', num_in_ch=1, num_out_ch=1, bias=True, kernel_size=5),
    dict(memory='released', num_feat=16),
    dict(bias=True),
    dict(chained=True, insert=['encoder1', 'decoder2'], reconstruction=True),
    dict(replace=True, levels=['part', None, 'semantic'], reduction=1),
])
@pytest.mark.parametrize('size, pixels', [((61, 45), 64), ((8, 8), 64), ((5, 19), 64), ((61, 45), 10**6)])
def test_deploy_equals_evaluation(kwargs, size, pixels, monkeypatch):
    """With combined rows at every size, or without."""
    monkeypatch.setattr(winograd_util, 'LEAST_PIXELS', pixels)
    monkeypatch.setattr(winograd_util, 'MOST_PIXELS', 2 * pixels)
    net = make(**kwargs).eval()
    x = torch.rand(2, net.tail.out_channels, *size)
    deployed = fast.inference(net)
    with torch.no_grad():
        expected = net(x)
        exact = copy.deepcopy(net).double()
        torch.testing.assert_close(fast.inference(exact)(x.double()), exact(x.double()), rtol=0, atol=1e-12)
    out = deployed(x)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)
    assert deployed.size_multiple == 8 and not any(p.requires_grad for p in deployed.parameters())
    half = deployed.to(torch.bfloat16)(x)
    assert half.dtype == torch.float32
    assert (half - expected).std() < 0.03 * (expected - x).std()


def test_deploy_with_local_statistics():
    net = make().eval()
    x = torch.rand(1, 3, 40, 64)
    inference = Inference(local_statistics=16)
    local = inference(fast.inference(net), x)
    torch.testing.assert_close(local, inference(net, x), rtol=0, atol=1e-5)
    assert (local - net(x)).abs().max() > 1e-4


@pytest.mark.parametrize('slope', [0.25, 1.5, 0., -0.5])
def test_prelu_equals_torch(slope):
    results = []
    for function in (prelu_, lambda x, act: act(x)):
        act = nn.PReLU().double()
        nn.init.constant_(act.weight, slope)
        x = torch.linspace(-2, 2, 31, dtype=torch.float64).view(1, 1, 1, 31).requires_grad_()
        out = function(1 * x, act) * torch.arange(31)
        out.sum().backward()
        results.append((out.detach(), x.grad, act.weight.grad))
    for one, two in zip(*results):
        torch.testing.assert_close(one, two)


def test_channels_last_of_one_channel():
    x = torch.rand(2, 1, 8, 6)
    conv = nn.Conv2d(1, 4, 3, padding=1)
    assert conv(channels_last(x)).stride() == (4 * 48, 1, 24, 4)
    assert torch.equal(channels_last(x), x)


@pytest.mark.parametrize('dtype, tol', [(torch.float32, 1e-6), (torch.bfloat16, 2**-9)])
def test_image_mean(dtype, tol):
    x = torch.rand(2, 3, 70, 90).to(dtype).contiguous(memory_format=torch.channels_last)  # 6300: too many for bfloat16
    out = image_mean(x)
    assert out.shape == (2, 3, 1, 1) and out.dtype == dtype
    torch.testing.assert_close(out.double(), x.double().mean((2, 3), keepdim=True), rtol=0, atol=tol)


def test_merged_convolutions_and_the_cheaper_order():
    torch.manual_seed(0)
    one, two = Resample(6, 5, 2), Resample(5, 3, 2)
    last = nn.Conv2d(3, 7, 1)
    x = torch.rand(2, 6, 5, 4)
    expected = last(two(one(x)))
    torch.testing.assert_close(upsample(upsample(conv1x1(x, one.up[1], two.up[1], last))), expected)
    down, x = Resample(6, 5, 0.5), torch.rand(2, 6, 8, 4)
    expected = down(x)
    torch.testing.assert_close(expected,
                               down.down[1](F.interpolate(x, scale_factor=0.5, mode='bilinear', align_corners=False)))
    for module in (one, down):
        plain = module(x)
        module.__class__ = memorynet_deploy.FORMS[Resample]
        torch.testing.assert_close(module(x), plain)


@pytest.mark.parametrize('count', [1, 2, 5])
def test_recomputed_blocks_save_every_second_input(count):
    torch.manual_seed(0)
    plain = nn.Sequential(*[CAB(4, 3, 2, True, nn.PReLU()) for _ in range(count)], nn.Conv2d(4, 3, 1))
    blocks, runs, alive = copy.deepcopy(plain), [], []
    blocks.__class__ = RecomputedBlocks
    x = torch.rand(2, 4, 6, 5)
    for i, block in enumerate(blocks):
        block.register_forward_hook(lambda module, args, out, i=i: runs.append(i))
        block.register_forward_hook(lambda module, args, out: alive.append(weakref.ref(out)))
    out = blocks(x)
    # the result and the inputs of pairs are left of the forward pass
    assert len([v for v in alive if v() is not None]) == (count + 1 + 1) // 2
    expected = plain(x)
    assert torch.equal(out, expected)
    out.square().mean().backward()
    expected.square().mean().backward()
    for one, two in zip(blocks.parameters(), plain.parameters()):
        assert torch.equal(one.grad, two.grad)
    assert runs.count(0) == 2
    runs.clear()
    blocks.eval()(x).mean().backward()
    assert runs == list(range(count + 1))


def test_recompute_changes_no_gradient():
    grads = []
    for recompute in (False, True):
        net = fast.training(make().double(), recompute)
        assert any(isinstance(m, RecomputedBlocks) for m in net.modules()) == recompute
        sum(v.square().mean() for v in net(torch.ones(1, 3, 16, 24, dtype=torch.float64) / 3)).backward()
        grads.append([v.grad for v in net.parameters()])
    for one, two in zip(*grads):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-12)


def test_memory_is_read_by_chunks(monkeypatch):
    torch.manual_seed(0)
    memory = HierarchicalMemory(num_feat=6, num_class=3).double()
    feat, lengths = torch.randn(70, 6, dtype=torch.float64), []
    expected = memory.read(feat, 'semantic', chained=True)
    memory.__class__ = ChunkedMemory
    monkeypatch.setattr(memorynet_deploy, 'CHUNK', 32)
    memory.addressing[0].register_forward_hook(lambda module, args, out: lengths.append(len(out)))
    torch.testing.assert_close(memory.read(feat, 'semantic', chained=True), expected)
    assert lengths == [32, 32, 6]
