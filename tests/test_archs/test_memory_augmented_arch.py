import pytest
import torch
from copy import deepcopy

from basicsr.archs import build_network

BACKBONES = {
    'EDSR': (dict(type='EDSR', num_in_ch=3, num_out_ch=3, num_feat=8, num_block=2, upscale=2), ['body.*'], 2),
    'RRDBNet': (dict(type='RRDBNet', num_in_ch=3, num_out_ch=3, scale=4, num_feat=8, num_block=2,
                     num_grow_ch=4), ['body.0', 'body.1'], 4),
    'SwinIR': (dict(type='SwinIR', img_size=16, in_chans=3, embed_dim=12, depths=[2, 2], num_heads=[2, 2],
                    window_size=8, mlp_ratio=2, upscale=1, upsampler=''), ['layers.*'], 1),
}  # yapf: disable
MEMORY = dict(num_feat=6, num_class=2, num_part=3)


def build(name, **kwargs):
    backbone, insert_after, scale = BACKBONES[name]
    torch.manual_seed(0)
    net = build_network(dict(type='MemoryAugmented', backbone=backbone, insert_after=insert_after, memory=MEMORY,
                             dry_size=16, **kwargs))  # yapf: disable
    return net, scale


@pytest.mark.parametrize('name', BACKBONES)
def test_starts_as_the_backbone_and_opens(name):
    net, scale = build(name)
    torch.manual_seed(0)
    plain = build_network(BACKBONES[name][0])
    x = torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        assert torch.equal(net.eval()(x), plain.eval()(x))
    assert len(net.insertions) == 2
    # after one step in a random direction the memory takes part
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    target = torch.rand(2, 3, 16 * scale, 24 * scale)
    for _ in range(2):
        optimizer.zero_grad()
        (net.train()(x) - target).abs().mean().backward()
        optimizer.step()
    assert net.memory.weight.grad.abs().sum() > 0
    with torch.no_grad():
        before = net.eval()(x)
        net.memory.weight.mul_(-1)
        assert not torch.equal(net(x), before)


@pytest.mark.parametrize('name', BACKBONES)
def test_loads_checkpoints_of_the_backbone(name):
    torch.manual_seed(5)
    plain = build_network(BACKBONES[name][0]).eval()
    net, _ = build(name)
    net.load_state_dict(plain.state_dict(), strict=True)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(net.eval()(x), plain(x))
    again, _ = build(name)
    again.load_state_dict(net.state_dict(), strict=True)
    broken = plain.state_dict()
    broken.pop(next(iter(broken)))
    with pytest.raises(RuntimeError, match='Missing key'):
        net.load_state_dict(broken, strict=True)


def test_copies_have_a_memory_of_their_own():
    net, _ = build('EDSR')
    for insertion in net.insertions.values():
        torch.nn.init.ones_(insertion.proj_out.weight)
    other = deepcopy(net)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        before = net.eval()(x)
        other.memory.weight.mul_(3)
        assert torch.equal(net(x), before)
        assert not torch.equal(other.eval()(x), before)


@pytest.mark.parametrize('name', ['EDSR', 'SwinIR'])
def test_reconstructs_clean_images(name):
    net, _ = build(name, reconstruction=True)
    x = torch.rand(2, 3, 32, 32)
    found = net.train().reconstruct(x)
    assert found.shape == x.shape
    (found - x).square().mean().backward()
    assert net.memory.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match='reconstruction: true'):
        build(name)[0].reconstruct(x)


def test_levels_are_given_in_order():
    net, _ = build('EDSR', level=['part', 'semantic'])
    assert [v.level for v in net.insertions.values()] == ['part', 'semantic']


def test_wrong_names_list_near_ones():
    backbone = BACKBONES['EDSR'][0]
    with pytest.raises(ValueError, match=r"no submodule 'bodi.0'; near: body.0"):
        build_network(dict(type='MemoryAugmented', backbone=backbone, insert_after='bodi.0'))
