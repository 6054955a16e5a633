"""Controls of the memory ablation."""
import numpy as np
import pytest
import torch

from memnet_basicsr.analysis.ablation.controls import MemoryAugmentedControl, MemoryNetControl
from memnet_basicsr.archs.memorynet_arch import MemoryNet

SMALL = dict(num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1, memory_opt=dict(num_feat=6, num_class=3))


def make(cls=MemoryNetControl, **kwargs):
    torch.manual_seed(0)
    return cls(**SMALL, **kwargs)


def test_frozen_memory_gets_no_gradient():
    net = make(frozen=True)
    sum(y.square().mean() for y in net(torch.rand(2, 3, 16, 16))).backward()
    assert all(p.grad is None for p in net.memory.parameters())
    assert net.insertions['stage1_decoder3'].proj_out.weight.grad.any()


def test_shuffled_reads_are_the_reads_of_other_features():
    memory, plain, feat = make(shuffled=True).memory, make(MemoryNet).memory, torch.randn(60, 6)
    one, two, expected = memory.read(feat), memory.read(feat), plain.read(feat)
    assert not torch.equal(one, expected) and not torch.equal(one, two)
    rows = [v.detach().numpy() for v in (one, expected)]
    np.testing.assert_allclose(*(v[np.lexsort(v.T)] for v in rows), rtol=1e-5)
    torch.testing.assert_close(memory.eval().read(feat), memory.read(feat), rtol=0, atol=0)


def test_checkpoints_are_those_of_memorynet():
    net, plain = make(), make(MemoryNet)
    assert net.state_dict().keys() == plain.state_dict().keys()
    x = torch.rand(1, 3, 16, 16)
    assert all(torch.equal(a, b) for a, b in zip(net(x), plain(x)))


def augmented(kind='degradation', **kwargs):
    torch.manual_seed(0)
    backbone = dict(
        type='MemNet', num_in_ch=1, num_feat=8, num_block=2, num_recursion=1, unshuffle=2, supervise='final')
    net = MemoryAugmentedControl(backbone=backbone, insert_after='memory_blocks.*', dry_size=16,
                                 memory=dict(type=kind, num_feat=6, num_slot=4), **kwargs)  # yapf: disable
    for name, p in net.insertions.named_parameters():
        if 'film' in name or 'proj_out' in name:
            torch.nn.init.normal_(p)
    return net


@pytest.mark.parametrize('kind', ['degradation', 'dictionary', 'centers'])
def test_frozen_designs_stay(kind):
    net = augmented(kind, frozen=True).train()
    before = {k: v.clone() for k, v in net.memory.state_dict().items() if 'scaler' not in k}
    net(torch.rand(2, 1, 16, 16)).square().mean().backward()
    torch.optim.SGD(net.parameters(), 0.1).step()
    after = net.memory.state_dict()
    assert all(torch.equal(v, after[k]) for k, v in before.items())


def test_static_and_shuffled_reads():
    query = torch.randn(6, 6)
    static = augmented(static=True).eval().memory
    torch.testing.assert_close(static.read(query), static.values.mean(0).expand(6, 6))
    shuffled, plain = augmented(shuffled=True).eval().memory, augmented().eval().memory
    rows = [v.detach().numpy() for v in (shuffled.read(query), plain.read(query))]
    assert not np.allclose(*rows)
    np.testing.assert_allclose(*(v[np.lexsort(v.T)] for v in rows), rtol=1e-5)
