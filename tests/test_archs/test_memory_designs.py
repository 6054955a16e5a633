"""Memories of later papers in MemoryAugmented."""
import numpy as np
import pytest
import torch
from copy import deepcopy
from torch import nn
from torch.nn import functional as F

from basicsr.archs import build_network
from memnet_basicsr.archs.memory_designs import (Centers, DegradationMemory, DegradationPlace, DictionaryPlace,
                                                 TopKAddressing, degradation_statistics)
from memnet_basicsr.data.jpeg_util import compress_jpeg

BACKBONES = {
    'EDSR': (dict(type='EDSR', num_in_ch=3, num_out_ch=3, num_feat=8, num_block=2, upscale=2), ['body.*']),
    'SwinIR': (dict(type='SwinIR', img_size=16, in_chans=3, embed_dim=12, depths=[2, 2], num_heads=[2, 2],
                    window_size=8, mlp_ratio=2, upscale=1, upsampler=''), ['layers.*']),
}  # yapf: disable
MEMORIES = {
    'degradation': dict(num_feat=6, num_slot=4, top_k=2),
    'dictionary': dict(num_feat=6, num_slot=5, group_size=48),
    'centers': dict(num_feat=6, num_slot=4)
}


def build(kind, backbone='EDSR', **kwargs):
    opt, insert_after = BACKBONES[backbone]
    torch.manual_seed(0)
    return build_network(dict(type='MemoryAugmented', backbone=opt, insert_after=insert_after, dry_size=16,
                              memory=dict(type=kind, **MEMORIES[kind]), **kwargs))  # yapf: disable


@pytest.mark.parametrize('backbone', BACKBONES)
@pytest.mark.parametrize('kind', MEMORIES)
def test_starts_as_the_backbone_and_every_parameter_learns(kind, backbone):
    net = build(kind, backbone)
    torch.manual_seed(0)
    plain = build_network(BACKBONES[backbone][0])
    x = torch.rand(3, 3, 16, 24)
    with torch.no_grad():
        assert torch.equal(net.eval()(x), plain.eval()(x))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    target = torch.rand_like(net(x))
    for _ in range(3):
        optimizer.zero_grad()
        (net.train()(x) - target).square().mean().backward()
        optimizer.step()
    without = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not [v for v in without if not v.startswith('backbone')]
    # buffers (loads, centers, statistics) are kept with the network
    again = build(kind, backbone)
    again.load_state_dict(net.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(x), net.eval()(x))
        assert torch.equal(net(x), net(x))  # evaluation changes nothing


def test_top_k_addressing_is_a_softmax_over_the_nearest():
    addressing = TopKAddressing(6, 2, temperature=0.5)
    query, keys = torch.randn(7, 3), torch.randn(6, 3)
    weight = addressing(query, keys)
    cosine = torch.stack([F.cosine_similarity(q[None], keys) for q in query])
    for w, c in zip(weight, cosine):
        best = c.argsort(descending=True)[:2]
        expected = torch.zeros(6)
        expected[best] = torch.exp(c[best] / 0.5) / torch.exp(c[best] / 0.5).sum()
        torch.testing.assert_close(w, expected)
    # the bias selects, and does not weigh
    chosen = addressing(query, keys, torch.tensor([0, 0, 0, 0, 9., 9.]))
    assert torch.equal(chosen > 0, torch.tensor([False] * 4 + [True] * 2).expand(7, 6))
    torch.testing.assert_close(chosen[:, 4:], torch.softmax(cosine[:, 4:] / 0.5, -1))


def test_load_is_balanced_and_dead_slots_restart():
    memory = DegradationMemory(num_feat=3, num_slot=4, top_k=1, balance=0.05, restart=0)
    query = torch.tensor([[1., 0, 0]]) + 0.05 * torch.randn(64, 3)  # all alike: one slot would take every query
    memory.read(query)
    assert (memory.addressing(query, memory.keys) > 0).float().mean(0).amax() == 1
    counts = torch.zeros(4)
    for _ in range(400):
        memory.read(query)
        counts += (memory.addressing(query, memory.keys, memory.bias) > 0).float().mean(0)
    assert (counts / 400).amin() > 0.15
    memory.restart, before = 0.1, memory.keys.detach().clone()
    memory.load.copy_(torch.tensor([0.5, 0.2, 0.29, 0.01]))
    memory.observe(torch.rand(2, 3, 16, 16))
    assert torch.equal(memory.keys[:3], before[:3]) and memory.load[3] == 0.25
    assert F.cosine_similarity(memory.keys[3], memory.keys[0], dim=0) > 0.9
    assert torch.equal(memory.values[3], memory.values[0])


def test_groups_attend_as_plain_attention_does():
    """With one category, groups are runs of tokens; a token of another category attends to its own kind."""
    place = DictionaryPlace(5, 4)
    tokens = torch.randn(2, 12, 5)

    def plain(part):
        q, k, v = place.qkv(part).chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v)

    out = place._attend(tokens, torch.zeros(2, 12, dtype=torch.long), 4)
    torch.testing.assert_close(out, torch.cat([plain(tokens[:, i:i + 4]) for i in (0, 4, 8)], 1))
    category = torch.tensor([0, 1] * 6).expand(2, 12)
    out = place._attend(tokens, category, 6)
    torch.testing.assert_close(out[:, 0::2], plain(tokens[:, 0::2]))
    torch.testing.assert_close(out[:, 1::2], plain(tokens[:, 1::2]))
    assert place._attend(tokens[:, :7], category[:, :7], 16).shape == (2, 7, 4)  # fewer tokens than a group


def test_centers_find_clusters():
    generator = torch.Generator().manual_seed(0)
    means = torch.eye(3) * 4
    memory = Centers(num_feat=3, num_slot=3, decay=0.9)
    memory.centers = means + torch.randn(3, 3, generator=generator)
    for _ in range(100):
        memory.read(means.repeat(40, 1) + 0.2 * torch.randn(120, 3, generator=generator))
    torch.testing.assert_close(memory.centers, means, atol=0.15, rtol=0)
    torch.testing.assert_close(memory.load, torch.full((3, ), 1 / 3))
    kept = deepcopy(memory.centers)
    memory.eval().read(torch.randn(5, 3))
    assert torch.equal(memory.centers, kept)


def test_statistics_tell_degradations_apart():
    rng = np.random.default_rng(0)
    img = np.cumsum(np.cumsum(rng.standard_normal((96, 96)), 0), 1)  # smooth, as natural images are
    img = np.uint8(255 * (img - img.min()) / np.ptp(img))
    clean = torch.from_numpy(img / np.float32(255))[None, None]
    noisy = clean + 25 / 255 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    jpeg = torch.from_numpy(compress_jpeg(img[..., None], 10)[..., 0] / np.float32(255))[None, None]
    blurred = F.avg_pool2d(noisy, 5, 1, 2)
    values = {k: degradation_statistics(v)[0, 0, 0].exp() for k, v in dict(
        clean=clean, noisy=noisy, jpeg=jpeg, blurred=blurred).items()}  # yapf: disable
    assert values['noisy'][0] == pytest.approx(25 / 255, rel=0.1)
    assert values['noisy'][1] > 0.85 > 0.7 > values['blurred'][1]
    assert values['jpeg'][2:].min() > 1.5 > 1.2 > values['noisy'][2:].max()
    shifted = F.pad(jpeg, (3, 0, 5, 0), mode='replicate')[..., :-5, :-3]
    assert degradation_statistics(shifted)[0, 0, 0].exp()[2:].min() > 1.5  # of any grid


def test_whole_images_read_as_their_tiles_do():
    """A larger image is not another degradation: statistics are of tiles, and the read is the mean over them."""
    x, features = torch.rand(2, 3, 128, 192), torch.rand(2, 4, 64, 96)  # features at half the resolution
    memory, place = DegradationMemory(8, 6, top_k=2).eval(), DegradationPlace(4, 8)
    nn.init.normal_(place.film.weight)
    memory.observe(x)
    out = place(features, memory)
    reads = []
    hook = place.film.register_forward_pre_hook(lambda module, args: reads.append(args[0]))
    for row in range(2):
        for column in range(3):
            memory.observe(x[..., 64 * row:64 * row + 64, 64 * column:64 * column + 64])
            tile = features[..., 32 * row:32 * row + 32, 32 * column:32 * column + 32]
            place(tile, memory)
    hook.remove()
    scale, shift = place.film(torch.stack(reads).mean(0))[..., None, None].chunk(2, dim=1)
    torch.testing.assert_close(out, features * (1 + scale) + shift)


@pytest.mark.parametrize('shape', [(2, 4, 64, 64), (2, 4096, 4)])
def test_deviation_beside_a_large_mean_in_bf16(shape):
    memory, place = DegradationMemory(8, 6).eval(), DegradationPlace(4, 8)
    memory.observe(torch.rand(2, 3, 64, 64))
    queries = []
    place.query.register_forward_pre_hook(lambda module, args: queries.append(args[0]))
    x = (20 + torch.randn(shape)).bfloat16()
    with torch.autocast('cpu', torch.bfloat16):
        place(x, memory)
    expected = x.float().std((2, 3) if len(shape) == 4 else 1)
    torch.testing.assert_close(queries[0][:, 0, 4:8].float(), expected, rtol=0.01, atol=0)


@pytest.mark.parametrize('size', [(1, 1), (3, 8), (9, 2)])
def test_statistics_of_tiny_images_are_finite(size):
    assert torch.isfinite(degradation_statistics(torch.rand(2, 3, *size))).all()


def test_wrong_arguments():
    with pytest.raises(ValueError, match='type must be hierarchical, degradation'):
        build_network(dict(type='MemoryAugmented', backbone=BACKBONES['EDSR'][0], insert_after='body.*',
                           memory=dict(type='degradatoin')))  # yapf: disable
    with pytest.raises(ValueError, match='need memory: type: hierarchical'):
        build('centers', reconstruction=True)
    with pytest.raises(ValueError, match='reconstruction: true'):
        build('centers').reconstruct(torch.rand(1, 3, 16, 16))
    with pytest.raises(ValueError, match='top_k'):
        TopKAddressing(4, 5)
