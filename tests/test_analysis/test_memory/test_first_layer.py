import pytest
import torch

from basicsr.utils.registry import ARCH_REGISTRY
from memnet_basicsr.analysis.memory.first_layer import draw_first_layers, gradients, layer_features, magnitude
from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.archs.memory_augmented_arch import MemoryAugmented
from memnet_basicsr.archs.memorynet_arch import MemoryNet
from memnet_basicsr.errors import UsageError

EDSR = dict(type='EDSR', num_in_ch=3, num_out_ch=3, num_feat=4, num_block=1, upscale=2)


def test_first_layer_of_each_network():
    torch.manual_seed(0)
    image = torch.rand(3, 16, 24)
    name, feature = layer_features(MemNet(num_feat=4, num_block=1, num_recursion=1), image[:1])
    assert name == 'fenet.conv' and feature.shape == (4, 16, 24)
    edsr = ARCH_REGISTRY.get('EDSR')(**{k: v for k, v in EDSR.items() if k != 'type'})
    name, feature = layer_features(edsr, image)
    expected = edsr.conv_first((image[None] - edsr.mean) * edsr.img_range)[0]
    assert name == 'conv_first' and torch.allclose(feature, expected, atol=1e-5)
    augmented = MemoryAugmented(EDSR, 'body.0', memory=dict(num_feat=4, num_class=2))
    assert layer_features(augmented, image)[0] == 'backbone.conv_first'
    assert layer_features(augmented, image, 'body.0')[0] == 'backbone.body.0'


def test_quarters_are_merged():
    torch.manual_seed(0)
    net = MemoryNet(num_feat=4, scale_unetfeats=2, scale_orsnetfeats=2, num_cab=1)
    image = torch.rand(3, 16, 24)
    name, feature = layer_features(net, image)
    assert name == 'shallow_feat1.0'
    expected = [[net.shallow_feat1[0](image[None, :, i:i + 8, j:j + 12]) for j in (0, 12)] for i in (0, 8)]
    expected = torch.cat([torch.cat(row, dim=3) for row in expected], dim=2)[0]
    assert torch.allclose(feature, expected, atol=1e-6)
    assert layer_features(net, image, 'insertions.stage1_encoder3')[1].shape == (8, 4, 6)


def test_gradients_of_known_features():
    ramp = torch.arange(32.).view(1, 1, 32).expand(1, 32, 32)
    # Differences are 1 along the rows, else 0. The variance of 0..31 is (32^2 - 1) / 12; each value occurs 32 times.
    std = ((32**2 - 1) / 12 * 1024 / 1023)**.5
    assert gradients(ramp) == pytest.approx(.5 / std, rel=1e-5)
    assert gradients(torch.cat([ramp, torch.ones(1, 32, 32)])) == pytest.approx(.5 / std, rel=1e-5)
    assert gradients(torch.ones(2, 8, 8)) == 0
    torch.manual_seed(0)
    assert gradients(torch.randn(4, 200, 200)) == pytest.approx(2 / torch.pi**.5, rel=.01)


def test_magnitude_clips_outliers_of_each_channel():
    feature = torch.arange(-100., 100.).view(1, 10, 20) * torch.tensor([1., 50.]).view(2, 1, 1)
    feature[0, 0, 0] = 1e6
    values = magnitude(feature)
    assert values[0].max() == pytest.approx(98, abs=1) and values[1].max() == pytest.approx(50 * 98, abs=50)
    assert torch.equal(values[:, 5], feature[:, 5].abs())


def test_drawing():
    networks = [('a', 'conv', torch.randn(3, 8, 8)), ('b', 'conv', torch.randn(4, 4, 4))]
    figure = draw_first_layers(torch.rand(3, 16, 16), networks, 'title', 4)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[2] == 'a: layer conv, |feature| of the strongest of 3 channels' and titles[5].startswith('b: ')
    assert all(axis.get_images()[0].get_array().std() > 10 for axis in figure.axes)


def test_errors():
    net = ARCH_REGISTRY.get('EDSR')(**{k: v for k, v in EDSR.items() if k != 'type'})
    with pytest.raises(UsageError, match=r'layer conv_frist: EDSR has no submodule .*closest match: conv_first'):
        layer_features(net, torch.rand(3, 8, 8), 'conv_frist')
    memory_net = MemoryNet(num_feat=4, scale_unetfeats=2, scale_orsnetfeats=2, num_cab=1)
    with pytest.raises(UsageError, match='layer memory: is not called or does not output a feature map'):
        layer_features(memory_net, torch.rand(3, 8, 8), 'memory')
