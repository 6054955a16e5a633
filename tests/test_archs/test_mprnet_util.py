import pytest
import torch
from torch import nn
from torch.nn import functional as F

from memnet_basicsr.archs.mprnet_util import CAB, merge_columns, merge_rows, split_columns, split_rows


@pytest.mark.parametrize('num', [1, 2, 3])
def test_split_and_merge(num):
    x = torch.rand(num, 3, 8, 6)
    halves, sides = split_rows(x), split_columns(x)
    assert torch.equal(halves, torch.cat([x[:, :, :4], x[:, :, 4:]]))
    assert torch.equal(sides, torch.cat([x[..., :3], x[..., 3:]]))
    assert torch.equal(merge_rows(halves), x) and torch.equal(merge_columns(sides), x)


@pytest.mark.parametrize('bias', [False, True])
def test_channel_attention_block(bias):
    block = CAB(8, 3, 4, bias, nn.PReLU())
    x = torch.randn(2, 8, 6, 7)
    res = block.body(x)
    mean = res.mean((2, 3), keepdim=True)
    down, up = block.CA.conv_du[0], block.CA.conv_du[2]
    gate = torch.sigmoid(up(F.relu(down(mean))))
    torch.testing.assert_close(block(x), x + res * gate)
    assert down.out_channels == 2
