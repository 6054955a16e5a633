import numpy as np
import pytest
import torch

from memnet_basicsr.analysis.memory.gate_norms import gate_norms, mean_norms
from memnet_basicsr.archs.memnet_arch import MemNet

SMALL = {'num_feat': 4, 'num_block': 3, 'num_recursion': 3}


def hand_set(**kwargs):
    """A network whose gates have the weight m * (c + 1) for input channel c of block m, in every output channel."""
    net = MemNet(**{**SMALL, **kwargs})
    with torch.no_grad():
        for m, block in enumerate(net.memory_blocks, 1):
            count = block.gate.conv.in_channels
            block.gate.conv.weight.copy_(m * (torch.arange(count) + 1.).view(1, -1, 1, 1).expand(4, -1, 1, 1))
    return net


@pytest.mark.parametrize('kwargs, sources', [
    ({}, [['B0', 'H1', 'H2', 'H3'], ['B0', 'B1', 'H1', 'H2', 'H3'], ['B0', 'B1', 'B2', 'H1', 'H2', 'H3']]),
    ({
        'long_term': False
    }, [['H1', 'H2', 'H3']] * 3),
    ({
        'short_term': False
    }, [['B0', 'H3'], ['B0', 'B1', 'H3'], ['B0', 'B1', 'B2', 'H3']]),
    ({
        'long_term': False,
        'short_term': False
    }, [['H3']] * 3),
])
def test_norms_of_hand_set_weights(kwargs, sources):
    blocks = gate_norms(hand_set(**kwargs))
    assert [list(norms) for norms in blocks] == sources
    for m, norms in enumerate(blocks, 1):
        # Four output channels of weight w have the norm sqrt(4 w^2).
        np.testing.assert_allclose(np.concatenate(list(norms.values())), 2 * m * np.arange(1, 4 * len(norms) + 1))


def test_order_of_the_sources_is_that_of_the_gate():
    net = hand_set().eval()
    with torch.no_grad():
        net.memory_blocks[1].gate.conv.weight[:, 4:8] = 0  # B1
    norms = gate_norms(net)[1]
    assert [name for name, v in norms.items() if not v.any()] == ['B1']
    memories = [torch.rand(1, 4, 5, 5) for _ in range(2)]
    with torch.no_grad():
        # B1 also feeds the recursion, which is disabled here.
        net.memory_blocks[1].gate.conv.weight[:, 8:] = 0
        before = net.memory_blocks[1](memories)
        assert torch.equal(net.memory_blocks[1]([memories[0], torch.rand(1, 4, 5, 5)]), before)
        assert not torch.equal(net.memory_blocks[1]([torch.rand(1, 4, 5, 5), memories[1]]), before)


def test_scaled_by_gamma():
    net = hand_set()
    with torch.no_grad():
        net.memory_blocks[0].gate.norm.weight.copy_(-1 / (torch.arange(16) + 1.))
    norms = gate_norms(net, scaled=True)[0]
    np.testing.assert_allclose(np.concatenate(list(norms.values())), 2, rtol=1e-6)


def test_mean_of_each_kind():
    norms = {'B0': np.array([1., 3.]), 'B1': np.array([5., 7.]), 'H1': np.array([1., 1.]), 'H2': np.array([2., 4.])}
    assert mean_norms(norms) == {'long-term': 4, 'short-term': 1, 'last recursion': 3}
    assert mean_norms({'H2': np.array([2., 4.])}) == {'last recursion': 3}
