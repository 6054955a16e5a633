import copy
import pytest
import torch
import weakref
from torch import nn
from torch.nn import functional as F

from memnet_basicsr.archs.mprnet_stages import Resample
from memnet_basicsr.archs.mprnet_util import (CAB, Blocks, SharedPReLU, channels_last, conv1x1, merge_columns,
                                              merge_rows, picture_mean, split_columns, split_rows, upsample)


@pytest.mark.parametrize('slope', [0.25, 1.5, 0., -0.5])
def test_prelu_is_torchs(slope):
    ours, torchs = SharedPReLU().double(), nn.PReLU().double()
    results = []
    for act in (ours, torchs):
        nn.init.constant_(act.weight, slope)
        x = torch.linspace(-2, 2, 31, dtype=torch.float64).view(1, 1, 1, 31).requires_grad_()
        out = act(1 * x) * torch.arange(31)
        out.sum().backward()
        results.append((out.detach(), x.grad, act.weight.grad))
    for one, two in zip(*results):
        torch.testing.assert_close(one, two)


def test_prelu_leaves_a_plain_trace():
    graph = torch.jit.trace(nn.Sequential(nn.Conv2d(1, 1, 1), SharedPReLU()), torch.rand(1, 1, 4, 4)).inlined_graph
    assert 'aten::prelu' in str(graph) and 'PythonOp' not in str(graph)


@pytest.mark.parametrize('num', [1, 2, 3])
@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_split_and_merge(num, layout):
    x = torch.rand(num, 3, 8, 6).contiguous(memory_format=layout)
    halves, sides = split_rows(x), split_columns(x)
    for n in range(num):
        assert torch.equal(halves[2 * n], x[n, :, :4]) and torch.equal(halves[2 * n + 1], x[n, :, 4:])
    assert torch.equal(sides, torch.cat([x[..., :3], x[..., 3:]]))
    for back in (merge_rows(halves), merge_columns(sides)):
        assert torch.equal(back, x) and back.is_contiguous(memory_format=layout)
    if layout == torch.channels_last:  # views of the same memory
        assert halves.data_ptr() == merge_rows(halves).data_ptr() == x.data_ptr()


def test_channels_last_of_one_channel():
    x = torch.rand(2, 1, 8, 6)
    conv = nn.Conv2d(1, 4, 3, padding=1)
    assert conv(channels_last(x)).stride() == (4 * 48, 1, 24, 4)
    assert torch.equal(channels_last(x), x)


@pytest.mark.parametrize('dtype, tol', [(torch.float32, 1e-6), (torch.bfloat16, 2**-9)])
def test_picture_mean(dtype, tol):
    x = torch.rand(2, 3, 70,
                   90).to(dtype).contiguous(memory_format=torch.channels_last)  # 6300: bfloat16 cannot count so far
    out = picture_mean(x)
    assert out.shape == (2, 3, 1, 1) and out.dtype == dtype
    torch.testing.assert_close(out.double(), x.double().mean((2, 3), keepdim=True), rtol=0, atol=tol)


def test_merged_convolutions_and_the_cheaper_order():
    torch.manual_seed(0)
    one, two = Resample(6, 5, 2), Resample(5, 3, 2)
    last = nn.Conv2d(3, 7, 1, bias=False)
    x = torch.rand(2, 6, 5, 4)
    torch.testing.assert_close(one(x), one.conv(upsample(x)))
    torch.testing.assert_close(upsample(upsample(conv1x1(x, one.conv, two.conv, last))), last(two(one(x))))
    down, x = Resample(6, 5, 0.5), torch.rand(2, 6, 8, 4)
    torch.testing.assert_close(
        down(x), down.conv(F.interpolate(x, scale_factor=0.5, mode='bilinear', align_corners=False)))


@pytest.mark.parametrize('bias', [False, True])
def test_block_without_gradients_is_the_block_with(bias):
    block = CAB(8, 3, 4, bias, SharedPReLU(), recompute=False)
    x = torch.randn(2, 8, 6, 7)
    with torch.no_grad():
        res = block.body(x)
        expected = x + res * block.CA.conv_du(F.adaptive_avg_pool2d(res, 1))
        torch.testing.assert_close(block(x), expected)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize('count', [1, 2, 5])
def test_blocks_keep_every_second_input(count):
    torch.manual_seed(0)
    plain = Blocks(*[CAB(4, 3, 2, True, SharedPReLU(), False) for _ in range(count)], nn.Conv2d(4, 3, 1))
    blocks, runs, alive = copy.deepcopy(plain), [], []
    x = torch.rand(2, 4, 6, 5)
    for i, block in enumerate(blocks):
        block.recompute = True
        block.register_forward_hook(lambda module, args, out, i=i: runs.append(i))
        block.register_forward_hook(lambda module, args, out: alive.append(weakref.ref(out)))
    out = blocks(x)
    # of the forward pass stay the result and what pairs begin with
    assert len([v for v in alive if v() is not None]) == (count + 1 + 1) // 2
    expected = plain(x)
    assert torch.equal(out, expected)
    out.square().mean().backward()
    expected.square().mean().backward()
    for one, two in zip(blocks.parameters(), plain.parameters()):
        assert torch.equal(one.grad, two.grad)
    assert runs.count(0) == 2 and max(map(runs.count, runs)) == 2  # the end of a pair need not run again
    runs.clear()
    blocks.eval()(x).mean().backward()
    assert runs == list(range(count + 1))
