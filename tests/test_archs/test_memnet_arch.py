import copy
import numpy as np
import pytest
import torch
from os import path as osp

from memnet_basicsr import fast
from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.inference.memnet_caffe import convert_caffe_blobs
from tests.reference.memnet_plain import PlainMemNet

VECTOR = osp.join(osp.dirname(osp.dirname(osp.abspath(__file__))), 'data', 'memnet_caffe_m2r3c8.npz')
SMALL = {'num_feat': 8, 'num_block': 3, 'num_recursion': 2}
VARIANTS = {
    'default': {},
    'basic': {
        'multi_supervised': False
    },
    'NL': {
        'long_term': False
    },
    'NS': {
        'short_term': False
    },
    'NL and NS': {
        'long_term': False,
        'short_term': False
    },
    'unshared': {
        'shared_recursion': False
    },
    'color': {
        'num_in_ch': 3
    },
    'one block, one recursion': {
        'num_block': 1,
        'num_recursion': 1
    },
}


def randomize(net, seed=0):
    """Give every parameter and statistic a value of its own, BatchNorm's neutral start included."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if name.endswith('running_var'):
            value.copy_(torch.rand(value.shape, generator=generator) + 0.5)
        elif value.is_floating_point() and value.dim() < 2:
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
    return net


def pair(seed=0, **kwargs):
    """The network and its plain specification with the same weights, in float64."""
    torch.manual_seed(seed)
    net = randomize(MemNet(**{**SMALL, **kwargs}), seed).double()
    plain = PlainMemNet(**{**SMALL, **kwargs}).double()
    plain.load_state_dict(net.state_dict())
    return net, plain


def caffe_blobs():
    with np.load(VECTOR) as data:
        return {name.removeprefix('blob:'): data[name] for name in data.files if name.startswith('blob:')}


@pytest.mark.parametrize('kwargs, count', [
    ({}, 695497),
    ({
        'multi_supervised': False
    }, 694851),
    ({
        'num_block': 4
    }, 447175),
    ({
        'num_recursion': 8
    }, 749257),
    ({
        'num_block': 10,
        'num_recursion': 10
    }, 1422029),
])
def test_parameter_count(kwargs, count):
    net = MemNet(**kwargs)
    assert sum(p.numel() for p in net.parameters()) == count
    if not kwargs:  # the paper's 677K
        assert sum(p.numel() for p in net.parameters() if p.dim() == 4) == 676992


def test_initialization():
    torch.manual_seed(0)
    net = MemNet(num_block=2, num_recursion=2)
    assert net.ensemble_weight.tolist() == [0.5, 0.5]
    convs = {name: m for name, m in net.named_modules() if isinstance(m, torch.nn.Conv2d)}
    for conv in convs.values():
        assert not conv.bias.any()
    for name in ('memory_blocks.0.conv_a.0', 'memory_blocks.1.gate.conv'):
        weight = convs[name].weight
        assert weight.std().item() == pytest.approx((2 / weight[0].numel())**0.5, rel=0.03)


def test_published_vector():
    config, state = convert_caffe_blobs(caffe_blobs())
    assert config == {'num_in_ch': 1, 'num_feat': 8, 'num_block': 2, 'num_recursion': 3}
    net = MemNet(**config).eval()
    net.load_state_dict(state)
    with np.load(VECTOR) as data:
        x = torch.from_numpy(data['input'])
        with torch.no_grad():
            np.testing.assert_allclose(net(x), data['output'], rtol=0, atol=1e-5)
            np.testing.assert_allclose(fast.inference(net)(x), data['output'], rtol=0, atol=1e-5)
            net.training = True  # all outputs, while the BatchNorms use their stored statistics
            outputs = net(x)
        assert len(outputs) == 3
        for output, name in zip(outputs, ('output', 'output_01', 'output_02')):
            np.testing.assert_allclose(output, data[name], rtol=0, atol=1e-5)
    plain = PlainMemNet(**config).eval()
    plain.load_state_dict(state)
    with torch.no_grad():
        for output, expected in zip(outputs, plain(x)):
            torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize('variant', VARIANTS)
def test_training_equals_plain(variant):
    net, plain = pair(**VARIANTS[variant])
    channels = net.fenet.conv.in_channels
    for seed in range(2):  # two steps: the second sees moved statistics and weights
        torch.manual_seed(seed)
        x = torch.rand(3, channels, 7, 9, dtype=torch.float64).requires_grad_()
        x_plain = x.detach().clone().requires_grad_()
        outputs, expected = net(x), plain(x_plain)
        if variant == 'basic':
            assert isinstance(outputs, torch.Tensor)
            outputs = [outputs]
        assert len(outputs) == len(expected)
        for output, other in zip(outputs, expected):
            torch.testing.assert_close(output, other, rtol=1e-10, atol=1e-10)
        for module, ys in ((net, outputs), (plain, expected)):
            module.zero_grad()
            sum((y * (i + 1)).sin().sum() for i, y in enumerate(ys)).backward()
        torch.testing.assert_close(x.grad, x_plain.grad, rtol=1e-8, atol=1e-9)
        with torch.no_grad():
            for (name, p), q in zip(net.named_parameters(), plain.parameters()):
                # a BatchNorm follows every bias but the last and takes it away: its gradient is 0 up to rounding
                assert (p.grad.abs().max() > 1e-8) or (name.endswith('.bias') and 'conv' in name), name
                torch.testing.assert_close(p.grad, q.grad, rtol=1e-8, atol=1e-9, msg=lambda m, name=name: f'{name} {m}')
                p -= 0.01 * p.grad
                q -= 0.01 * q.grad
        for (name, value), other in zip(net.named_buffers(), plain.buffers()):
            torch.testing.assert_close(value, other, rtol=1e-10, atol=1e-10, msg=lambda m, name=name: f'{name} {m}')


@pytest.mark.parametrize('variant', VARIANTS)
def test_evaluation_equals_plain(variant):
    net, plain = pair(**VARIANTS[variant])
    before = copy.deepcopy(net.state_dict())
    x = torch.rand(2, net.fenet.conv.in_channels, 9, 6, dtype=torch.float64)
    net.eval()
    plain.eval()
    with torch.no_grad():
        torch.testing.assert_close(net(x), plain(x)[0], rtol=1e-10, atol=1e-10)
    # with gradients (frozen statistics)
    for _module, output in ((net, net(x)), (plain, plain(x)[0])):
        output.square().sum().backward()
    for (name, p), q in zip(net.named_parameters(), plain.parameters()):
        assert p.grad.abs().max() > 1e-8, name
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-8, atol=1e-9)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_float32_gradients_equal_plain():
    torch.manual_seed(0)
    net = MemNet(num_feat=16, num_block=3, num_recursion=3)
    plain = PlainMemNet(num_feat=16, num_block=3, num_recursion=3)
    plain.load_state_dict(net.state_dict())
    x = torch.rand(4, 1, 15, 15)
    for module in (net, plain):
        sum(y.square().mean() for y in module(x)).backward()
    for (name, p), q in zip(net.named_parameters(), plain.parameters()):
        if name == 'recon_conv.bias' or not ('conv' in name and name.endswith('.bias')):  # those are rounding alone
            scale = q.grad.abs().max()
            torch.testing.assert_close(p.grad / scale, q.grad / scale, rtol=0, atol=1e-4, msg=name)


def test_supervise_final():
    torch.manual_seed(0)
    final = MemNet(supervise='final', **SMALL)
    every = MemNet(**SMALL)
    every.load_state_dict(final.state_dict())
    x = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(final(x), every(x)[0])
    final.eval()
    every.eval()
    with torch.no_grad():
        assert torch.equal(final(x), every(x))


def test_result_is_the_weighted_sum():
    net = randomize(MemNet(**SMALL))
    result, *outputs = net(torch.rand(2, 1, 8, 8))
    torch.testing.assert_close(result, torch.einsum('m,mnchw->nchw', net.ensemble_weight, torch.stack(outputs)))


@pytest.mark.parametrize('kwargs, word', [
    ({
        'supervise': 'last'
    }, 'supervise'),
    ({
        'num_block': 0
    }, 'num_block'),
    ({
        'num_recursion': 2.5
    }, 'num_recursion'),
])
def test_bad_arguments(kwargs, word):
    with pytest.raises(ValueError, match=word):
        MemNet(**kwargs)


def test_unshuffle_is_the_network_on_unshuffled_images():
    """The same weights as a network of 4 times the channels, between pixel-unshuffle and pixel-shuffle."""
    net = randomize(MemNet(num_in_ch=1, unshuffle=2, **SMALL)).eval()
    inner = MemNet(num_in_ch=4, **SMALL).eval()
    inner.load_state_dict(net.state_dict())
    x = torch.rand(2, 1, 10, 6)
    with torch.no_grad():
        expected = torch.nn.functional.pixel_shuffle(inner(torch.nn.functional.pixel_unshuffle(x, 2)), 2)
        torch.testing.assert_close(net(x), expected)
        padded = torch.cat([x, x[..., -1:]], 3)
        torch.testing.assert_close(net(torch.cat([padded[..., :7]], 3))[..., :4], net(padded[..., :7])[..., :4])
