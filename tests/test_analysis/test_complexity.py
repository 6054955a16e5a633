import csv
import io
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from memnet_basicsr.analysis.complexity import complexity, cost_rows, csv_table, markdown_table, unique_networks
from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.archs.memory_util import HierarchicalMemory
from memnet_basicsr.archs.memorynet_arch import MemoryNet
from memnet_basicsr.errors import UsageError
from tests.reference.memorynet_plain import MemoryNetPlain


@pytest.mark.parametrize('m, r, c', [(6, 6, 64), (2, 3, 8)])
def test_memnet_closed_form(m, r, c):
    cost = complexity(MemNet(num_feat=c, num_block=m, num_recursion=r), (1, 8, 12))
    gates = sum((r + k) * c for k in range(1, m + 1))
    # for each pixel: FENet, 2 R convolutions of each block, gates, M reconstructions
    products = 9 * c + m * 2 * r * 9 * c * c + gates * c + m * 9 * c
    assert cost.products() == cost.torch_macs == 96 * products and cost.ratio() == 1 and cost.flag() == ''
    # each BatchNorm scales and shifts: FENet's, 2 R of each block, the gates', M of the reconstruction
    assert cost.operators['batch_norm'] == 96 * 2 * (1 + m * 2 * r * c + gates + m * c)
    # what convolutions give; a gate is one for each of its sources
    assert cost.activations == 96 * (c + m * 2 * r * c + gates + m)
    if m == 6:
        assert cost.parameters == 695497


def test_memorynet_agrees_with_the_published_macs():
    """141 GMACs at 256 x 256 as the definition reads; this network does the commuting 1 x 1 convolutions at once."""
    sizes = 32, 64
    small, large = (complexity(MemoryNet(memory='released'), (3, v, v)) for v in sizes)
    assert small.flag() == large.flag() == '' and small.parameters == 3637585
    # constant (channel attention, prototypes) and proportional to the pixels
    slope = (large.products() - small.products()) / (64**2 - 32**2)
    ours = small.products() + slope * (256**2 - 32**2)
    plain = MemoryNetPlain(memory='released').eval().requires_grad_(False).to('meta')
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        plain(torch.empty(1, 3, 256, 256, device='meta'))
    assert counter.get_total_flops() / 2e9 == pytest.approx(141, abs=.05)
    assert .98 < ours / (counter.get_total_flops() / 2) < 1


def test_memory_closed_form():
    net = HierarchicalMemory(6, 5, 1, 2, top='part')

    class Read(nn.Module):

        def __init__(self):
            super().__init__()
            self.memory = net

        def forward(self, x):
            return self.memory.read(x)

    cost = complexity(Read(), (6, 4, 5))
    assert cost.products() == 20 * 2 * 6 * 10 and cost.operators == {'matmul': 2400} and cost.flag() == ''


class Hidden(torch.autograd.Function):

    @staticmethod
    def forward(ctx, x, weight):
        return nn.functional.conv2d(x, weight)


class HidingNet(nn.Module):

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1, bias=False)
        self.weight = nn.Parameter(torch.rand(4, 4, 1, 1))

    def forward(self, x):
        return Hidden.apply(self.conv(x), self.weight)


def test_what_is_hidden_from_a_counter_is_flagged():
    cost = complexity(HidingNet(), (3, 5, 5))
    assert cost.torch_macs == 25 * (12 + 16) and cost.products() == 25 * 12
    assert cost.ratio() == pytest.approx(12 / 28) and 'mmengine counts less' in cost.flag()


def test_tables():
    small = dict(type='MemNet', num_feat=4, num_block=1, num_recursion=1)
    networks = unique_networks({'test_a': small, 'b': dict(small, num_in_ch=3), 'train_a': dict(small)})
    assert [names for _, names in networks] == [['test_a', 'train_a'], ['b']]
    costs = [(opt, names,
              complexity(MemNet(**{
                  k: v
                  for k, v in opt.items() if k != 'type'
              }), (opt.get('num_in_ch', 1), 8, 8))) for opt, names in networks]
    costs.append(({'type': 'HidingNet'}, ['c'], complexity(HidingNet(), (3, 8, 8))))
    rows = cost_rows(costs)
    lines = markdown_table(rows, (8, 8)).splitlines()
    assert lines[2].startswith('| train_a, test_a | MemNet | ') and '| 1.000000 |' in lines[2]
    assert '**mmengine counts less' in lines[4] and all(v.count('|') == lines[0].count('|') for v in lines)
    parsed = list(csv.DictReader(io.StringIO(csv_table(rows))))
    assert parsed[1]['network'] == 'MemNet(num_feat 4, num_block 1, num_recursion 1, num_in_ch 3)'
    assert int(parsed[0]['products']) == 64 * (9 * 4 + 2 * 9 * 16 + 2 * 16 + 9 * 4)


def test_a_picture_that_does_not_fit():
    with pytest.raises(UsageError, match='MemNet does not run on a picture of 3 channels, 8 x 8 pixels'):
        complexity(MemNet(num_feat=4, num_block=1, num_recursion=1), (3, 8, 8))
