import math
import numpy as np
import pytest
import torch

from memnet_basicsr.analysis.memory.spectrum import (BINS, feature_spectra, frequencies, high_share, mean_density,
                                                     mean_spectrum, memories, radial_spectrum, readers)
from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.errors import UsageError
from tests.reference.memnet_plain import PlainMemNet

SMALL = {'num_feat': 4, 'num_block': 3, 'num_recursion': 2}


def noise(seed, *shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize('height, width', [(64, 64), (97, 130)])
def test_white_noise_is_flat_at_its_variance(height, width):
    density = radial_spectrum(3 + 2 * noise(0, 400, height, width))
    assert density.shape == (BINS, )
    # The lowest annulus has only a few points, and subtracting the mean removes part of it.
    np.testing.assert_allclose(density[1:], 4, rtol=.12)
    np.testing.assert_allclose(density[8:], 4, rtol=.04)
    assert mean_density(density) == pytest.approx(4, rel=.02)


@pytest.mark.parametrize('cycles, direction', [(6.5 / 64, 0), (16.5 / 64, 40), (30.5 / 64, 90)])
def test_sinusoid_is_at_its_frequency(cycles, direction):
    angle = math.radians(direction)
    y, x = torch.meshgrid(torch.arange(120.), torch.arange(100.), indexing='ij')
    wave = torch.sin(2 * math.pi * cycles * (x * math.cos(angle) + y * math.sin(angle)))[None]
    density = radial_spectrum(wave)
    peak = density.argmax()
    assert abs(frequencies()[peak] - cycles) <= 1 / (4 * BINS) + 1e-9
    # The window spreads nearly all of the power over at most two neighboring annuli.
    power = density * frequencies()
    assert power[max(peak - 2, 0):peak + 3].sum() > .99 * power.sum()


def test_power_is_the_variance():
    """The integral over all frequencies is the mean square, which is 1/2 for a sinusoid."""
    wave = torch.sin(2 * math.pi * .2 * torch.arange(128.)).expand(1, 128, 128)
    areas = 2 * math.pi * frequencies() / (2 * BINS)
    assert (radial_spectrum(wave) * areas).sum() == pytest.approx(.5, rel=.04)  # few points per annulus


def test_cross_spectrum_is_what_two_draws_share():
    common = noise(1, 400, 80, 72)
    a, b = common + noise(2, 400, 80, 72), common + noise(3, 400, 80, 72)
    np.testing.assert_allclose(radial_spectrum(a)[8:], 2, rtol=.05)
    np.testing.assert_allclose(radial_spectrum(a, b)[8:], 1, rtol=.1)
    np.testing.assert_allclose(radial_spectrum(a, a), radial_spectrum(a))


def test_high_share():
    assert high_share(np.ones(BINS)) == pytest.approx(.75)  # 1 - (1/4)^2 / (1/2)^2
    low = (frequencies() < .25).astype(float)
    assert high_share(low) == 0 and high_share(np.ones(BINS), low) == 0
    assert high_share(np.ones((3, BINS)), .5 * np.ones((3, BINS))) == pytest.approx([.375] * 3)


def test_small_images_are_refused():
    with pytest.raises(UsageError, match=r'60x80 pixels: .* 64x64'):
        radial_spectrum(torch.rand(1, 80, 60))


@pytest.fixture
def net():
    """A network whose front end copies its input, and whose memory is a multiple of B_0."""
    net = MemNet(num_feat=2, num_block=1, num_recursion=1).eval()
    with torch.no_grad():
        for v in net.state_dict().values():
            if v.is_floating_point():
                v.zero_()
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_var.fill_(1 - module.eps)
                module.weight.fill_(1)
                module.bias.fill_(100)  # disables the ReLUs
        net.fenet.conv.weight[0, 0, 1, 1] = 1
        net.fenet.conv.weight[1, 0, 1, 1] = 10
        net.memory_blocks[0].gate.conv.weight[0, 0] = 3
    return net


def test_features_along_the_depth(net):
    lqs = [noise(0, 1, 70, 66), 5 * noise(1, 1, 70, 66).cumsum(1)]  # of very different power
    densities = [radial_spectrum(lq) for lq in lqs]
    expected = np.mean([v / mean_density(v) for v in densities], axis=0)
    np.testing.assert_allclose(mean_spectrum(lqs), expected)
    spectra = feature_spectra(net, 'net', [{'lq': v} for v in lqs])
    assert spectra.name == 'net' and spectra.common is None
    for density in spectra.density:  # approximate because the front end sees zeros at the border
        np.testing.assert_allclose(density[1:], expected[1:], rtol=.1)
        assert mean_density(density) == pytest.approx(1)


def test_channels_are_divided_by_their_standard_deviation(net):
    lq = noise(0, 1, 70, 66)
    smooth = lq.cumsum(1)
    pairs = [{'lq': torch.cat([lq, 100 * smooth])}]
    net = MemNet(num_in_ch=2, num_feat=2, num_block=1, num_recursion=1).eval()
    with torch.no_grad():
        net.fenet.norm.bias.fill_(1e4)  # disables the ReLUs
        net.fenet.conv.weight.zero_()
        net.fenet.conv.weight[[0, 1], [0, 1], 1, 1] = 1
    statistics = net.memory_blocks[0].norm_a[0]
    statistics.running_var.copy_(torch.tensor([1., 1e4 * smooth.var()]))
    shares = [float(high_share(radial_spectrum(v))) for v in (lq, smooth / smooth.std())]
    assert feature_spectra(net, 'net', pairs).high_share()[0] == pytest.approx(np.mean(shares), abs=.05)


def test_other_draw_of_the_noise(net):
    clean = noise(0, 1, 70, 66)
    pairs, others = ([{'lq': clean + noise(seed, 1, 70, 66)}] for seed in (1, 2))
    spectra = feature_spectra(net, 'net', pairs, others)
    assert spectra.common.shape == spectra.density.shape == (2, BINS)
    # Half of the power comes from the image.
    assert spectra.common_high_share()[0] / spectra.high_share()[0] == pytest.approx(.5, abs=.1)


def test_memories_equal_those_of_the_plain_network():
    torch.manual_seed(0)
    net, plain = MemNet(**SMALL).eval(), PlainMemNet(**SMALL).eval()
    plain.load_state_dict(net.state_dict())
    lq = torch.rand(1, 1, 13, 17)
    expected = []
    with torch.no_grad():
        expected.append(plain.fenet(lq))
        for block in plain.memory_blocks:
            expected.append(block(expected))
    for _ in range(2):  # no hook remains
        ours = memories(net, lq)
        assert len(ours) == 4
        for a, b in zip(ours, expected):
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert not any(v._forward_hooks for v in net.modules())


def test_readers_have_the_statistics_of_the_memories():
    torch.manual_seed(0)
    net = MemNet(**SMALL)
    for norm in readers(net):
        norm.momentum = 1.  # the running statistics equal those of the last batch
    x, found = torch.rand(4, 1, 16, 16), []
    handles = [v.register_forward_hook(lambda *args: found.append(args[2])) for v in (net.fenet, *net.memory_blocks)]
    net.train()(x)
    assert len(readers(net)) == len(found) == 4 and handles
    for norm, memory in zip(readers(net), found):
        torch.testing.assert_close(norm.running_var, memory.detach().var((0, 2, 3)))
