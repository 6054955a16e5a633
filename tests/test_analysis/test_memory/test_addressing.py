import math
import pytest
import torch
from hand_made import ColorNet, make_image

from basicsr.utils.registry import ARCH_REGISTRY
from memnet_basicsr.analysis.memory.addressing import find_memory, restore_and_record, token_grid
from memnet_basicsr.archs.memory_augmented_arch import MemoryAugmented
from memnet_basicsr.archs.memory_util import LEVELS
from memnet_basicsr.archs.memorynet_arch import MemoryNet
from memnet_basicsr.errors import UsageError

TINY = {'num_feat': 4, 'scale_unetfeats': 2, 'scale_orsnetfeats': 2, 'num_cab': 1}


def record(net, image):
    found = []
    restored = restore_and_record(net, image, found.append)
    return found, restored


def test_hand_made_addressing():
    net, image = ColorNet(), make_image()
    (only, ), restored = record(net, image)
    assert (only.place, only.level, only.size) == ('only', 'part', (16, 16)) and torch.equal(restored, image)
    expected = torch.tensor([[0] * 8] * 4 + [[1] * 4 + [2] * 4] * 4)
    assert torch.equal(only.strongest(), expected)
    assert only.entropy().max() < 1e-6 and torch.allclose(only.weights.sum(0), torch.ones(8, 8))
    assert only.query_cosine == pytest.approx(.5**2 + 2 * .25**2)  # positions of the same color have cosine 1
    assert not any(v._forward_hooks for v in net.modules())  # no hook remains


def test_entropy_of_known_weights():
    # White addresses all equally; at temperature 1, red addresses them as e : 1 : 1.
    image = torch.ones(3, 2, 4)
    image[1:, :, :2] = 0
    (only, ), _ = record(ColorNet(temperature=1.), image)
    weights = [math.e / (math.e + 2), 1 / (math.e + 2), 1 / (math.e + 2)]
    assert only.weights[:, 0, 0].tolist() == pytest.approx(weights)
    entropy = -sum(v * math.log(v) for v in weights) / math.log(3)
    assert only.entropy()[0].tolist() == pytest.approx([entropy, 1])


def test_positions_cover_the_padding():
    (only, ), restored = record(ColorNet(size_multiple=8), make_image(12, 16))
    assert only.size == (16, 16) and only.weights.shape == (3, 8, 8) and restored.shape == (3, 12, 16)


def test_chained_reads_are_reported_by_level():
    found, _ = record(ColorNet('semantic', chained=True), make_image())
    assert [v.level for v in found] == list(LEVELS)
    # Each level holds the same three colors, so a read returns its query.
    assert all(torch.equal(v.strongest(), found[0].strongest()) for v in found)


@pytest.mark.parametrize('corner', [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_quarters_of_memorynet_are_merged(corner):
    torch.manual_seed(0)
    net = MemoryNet(**TINY, memory='feature', insert=['encoder1', 'decoder1']).eval()
    image = torch.rand(3, 32, 48)
    before, _ = record(net, image)
    own = slice(16 * corner[0], 16 * corner[0] + 16), slice(24 * corner[1], 24 * corner[1] + 24)
    image[:, own[0], own[1]] = torch.rand(3, 16, 24)
    after, _ = record(net, image)
    assert [v.place for v in after] == [
        f'stage{s}_{v}'
        for s, places in ((1, ('encoder1', 'decoder1')), (2, ('encoder1', 'decoder1')), (3, ('encoder', 'decoder')))
        for v in places
    ]
    assert [v.level for v in after] == [v for v in LEVELS for _ in range(2)]
    assert all(v.weights.shape[1:] == (32, 48) for v in after)
    # Encoder 1 sees quarters and decoder 1 halves, so nothing else changes.
    for k, changed in ((0, own), (1, (own[0], slice(None)))):
        moved = (before[k].weights - after[k].weights).abs().sum(0) > 0
        assert moved[changed].any()
        moved[changed] = False
        assert not moved.any()


def test_released_memory():
    torch.manual_seed(0)
    net = MemoryNet(**TINY, memory='released').eval()
    image = torch.rand(3, 16, 24)
    found, _ = record(net, image)
    with torch.no_grad():
        reads = net.memory(image[None])
        for place, read, values in zip(found, reads, net.memory.prototypes()):
            assert place.place == 'image' and len(place.weights) == len(values)
            assert torch.allclose(torch.einsum('nhw,nc->chw', place.weights, values), read[0], atol=1e-6)


def x():
    torch.manual_seed(0)
    swinir = dict(type='SwinIR', embed_dim=8, depths=[1], num_heads=[2], window_size=8, img_size=16, upscale=1)
    net = MemoryAugmented(swinir, 'layers.0', memory=dict(num_feat=4, num_class=2), dry_size=16).eval()
    (only, ), _ = record(net, torch.rand(3, 12, 24))
    assert only.size == (16, 24) and only.weights.shape == (20, 16, 24) and only.place == 'layers_0'
    direct = []
    net.insertions['layers_0'].register_forward_hook(lambda module, args, out: direct.append(args[0]))
    image = torch.rand(3, 16, 24)
    (only, ), _ = record(net, image)
    with torch.no_grad():
        weight = net.memory.address(net.insertions['layers_0'].proj_in(direct[0])[0], 'part')
    assert torch.allclose(only.weights[:, 3, 7], weight[3 * 24 + 7], atol=1e-6)
    assert token_grid(384, (16, 24)) == (16, 24) and token_grid(96, (32, 48)) == (8, 12)


def test_without_memory():
    with pytest.raises(UsageError, match='has no memory'):
        find_memory(MemoryNet(**TINY, memory='none'))
    with pytest.raises(UsageError, match='has no memory'):
        record(ARCH_REGISTRY.get('EDSR')(num_in_ch=3, num_out_ch=3, num_feat=4, num_block=1), make_image())


def test_windowed_reads_are_refused():

    class Windows(ColorNet):

        def forward(self, x):
            super().forward(torch.cat(x.chunk(4, dim=3)))
            return x

    with pytest.raises(UsageError, match='in 4 parts'):
        record(Windows(), make_image())
