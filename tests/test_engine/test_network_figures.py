import pytest
import torch

from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.engine.network_figures import network_figures


def test_figures_of_memnet():
    net = MemNet(num_feat=2, num_block=2, num_recursion=2)
    with torch.no_grad():
        for block in net.memory_blocks:  # channel c has the norm 5 (c + 1)
            count = block.gate.conv.in_channels
            block.gate.conv.weight[0, :, 0, 0], block.gate.conv.weight[1, :, 0,
                                                                       0] = 3 * (torch.arange(count) + 1.), 4 * (
                                                                           torch.arange(count) + 1.)
    figures = network_figures(net)
    assert figures == pytest.approx({'ensemble_weight/y1': 0.5, 'ensemble_weight/y2': 0.5,
                                     'gate_norm/block1_source0': 7.5, 'gate_norm/block1_source1': 17.5,
                                     'gate_norm/block1_source2': 27.5, 'gate_norm/block2_source0': 7.5,
                                     'gate_norm/block2_source1': 17.5, 'gate_norm/block2_source2': 27.5,
                                     'gate_norm/block2_source3': 37.5})  # yapf: disable
    assert not any('ensemble' in v for v in network_figures(MemNet(num_block=1, multi_supervised=False)))
    assert network_figures(torch.nn.Conv2d(1, 1, 1)) == {}
