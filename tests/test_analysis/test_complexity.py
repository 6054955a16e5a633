import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from basicsr.utils.registry import ARCH_REGISTRY
from memnet_basicsr.analysis.complexity import complexity, unique_networks
from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.archs.memorynet_arch import MemoryNet
from memnet_basicsr.errors import UsageError


def products(net, shape):
    """Multiply-accumulates of convolutions and matrix products, counted by torch."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net.eval().requires_grad_(False)(torch.rand(1, *shape))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize('m, r, c', [(6, 6, 64), (2, 3, 8)])
def test_closed_form_of_memnet(m, r, c):
    net = MemNet(num_feat=c, num_block=m, num_recursion=r)
    cost = complexity(net, (1, 8, 12))
    gates = sum((r + k) * c for k in range(1, m + 1))
    # per pixel: front end, 2 R convolutions of each block, gates, M reconstructions
    convolutions = 9 * c + m * 2 * r * 9 * c * c + gates * c + m * 9 * c
    # each BatchNorm scales and shifts: front end, 2 R of each block, gates, M of the reconstruction
    norms = 2 * (1 + m * 2 * r * c + gates + m * c)
    assert cost.macs == 96 * (convolutions + norms) and products(net, (1, 8, 12)) == 96 * convolutions
    # the outputs of all convolutions
    assert cost.activations == 96 * (c + m * 2 * r * c + m * c + m)
    assert cost.parameters == sum(v.numel() for v in net.parameters())
    if m == 6:
        assert cost.parameters == 695497  # published


def test_agrees_with_torch_on_a_network_without_norms():
    net = ARCH_REGISTRY.get('EDSR')(num_in_ch=3, num_out_ch=3, num_feat=4, num_block=1)
    assert complexity(net, (3, 6, 5)).macs == products(net, (3, 6, 5))


def test_memorynet():
    """mmengine also counts resampling, some percent."""
    net = MemoryNet(memory='released')
    cost = complexity(net, (3, 32, 32))
    assert cost.parameters == 3637585 and 1 < cost.macs / products(net, (3, 32, 32)) < 1.03


def test_shared_parameters_count_once():
    shared = nn.Conv2d(3, 3, 1)
    assert complexity(nn.Sequential(shared, nn.BatchNorm2d(3), shared), (3, 4, 4)).parameters == 9 + 3 + 6


def test_networks_are_grouped():
    small = dict(type='MemNet', num_feat=4, num_block=1)
    networks = unique_networks({'a': small, 'b': dict(small, num_in_ch=3), 'c': dict(reversed(small.items()))})
    assert networks == [(small, ['a', 'c']), (dict(small, num_in_ch=3), ['b'])]


def test_image_that_does_not_fit():
    with pytest.raises(UsageError, match='MemNet does not run on an image of 3 channels and 8x8 pixels'):
        complexity(MemNet(num_feat=4, num_block=1, num_recursion=1), (3, 8, 8))
