import functools
import itertools
import pytest
import torch
import torch.nn.functional as F
from torch import nn as nn

from memnet_basicsr.errors import UsageError
from memnet_basicsr.fast import forms
from memnet_basicsr.inference import Inference
from memnet_basicsr.inference.ensemble import restore_by_ensemble
from memnet_basicsr.inference.local_statistics import LocalStatistics, window_mean
from memnet_basicsr.inference.padding import pad_to_multiple
from memnet_basicsr.inference.tiling import tile_spans


class ConvNet(nn.Module):
    """Looks 3 pixels far; scale by pixel shuffle."""

    def __init__(self, channels=1, scale=1, size_multiple=1):
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Sequential(
            nn.Conv2d(channels, 6, 3, 1, 1), nn.ReLU(), nn.Conv2d(6, 6, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(6, channels * scale**2, 3, 1, 1), nn.PixelShuffle(scale))
        self.scale = scale
        self.size_multiple = size_multiple
        self.largest = 0

    def forward(self, x):
        self.largest = max(self.largest, x.size(2) * x.size(3))
        assert x.size(2) % self.size_multiple == x.size(3) % self.size_multiple == 0
        out = F.interpolate(x, scale_factor=self.scale, mode='nearest') + self.body(x)
        return [out, x] if self.training else out


def image(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# ---------------------------------------- padding ----------------------------------------


@pytest.mark.parametrize('h, w', [(5, 7), (8, 16), (9, 15)])
def test_padding_equals_torch_where_torch_can(h, w):
    img = image(2, 3, h, w)
    want = F.pad(img, (0, -w % 8, 0, -h % 8), mode='reflect')
    assert torch.equal(pad_to_multiple(img, 8), want)


def test_padding_of_tiny_images_reflects_repeatedly():
    row = torch.tensor([0., 1., 2.]).view(1, 1, 1, 3)
    out = pad_to_multiple(row, 8)
    assert out.shape == (1, 1, 8, 8)
    assert out[0, 0].tolist() == [[0, 1, 2, 1, 0, 1, 2, 1]] * 8


@pytest.mark.parametrize('scale', [1, 3])
@pytest.mark.parametrize('size', [(1, 1), (1, 9), (2, 3), (8, 8), (13, 21)])
def test_any_size_with_a_multiple(size, scale):
    net = ConvNet(3, scale, size_multiple=8)
    img = image(1, 3, *size)
    out = Inference()(net, img)
    assert out.shape == (1, 3, size[0] * scale, size[1] * scale)
    # far from the padded edges nothing can differ from the network without padding
    net.size_multiple = 1
    inner = slice(0, max(size[0] - 3, 0) * scale), slice(0, max(size[1] - 3, 0) * scale)
    torch.testing.assert_close(out[..., inner[0], inner[1]], net.eval()(img)[..., inner[0], inner[1]])


def test_option_overrides_the_declared_multiple_and_window_size_counts():
    net = nn.Conv2d(1, 1, 1)
    net.window_size = 5
    sizes = []
    net.register_forward_pre_hook(lambda m, args: sizes.append(tuple(args[0].shape[2:])))
    Inference()(net, image(1, 1, 6, 11))
    Inference(pad_multiple=4)(net, image(1, 1, 6, 11))
    assert sizes == [(10, 15), (8, 12)]


# ---------------------------------------- tiles ----------------------------------------


@pytest.mark.parametrize('scale', [1, 2])
@pytest.mark.parametrize('size', [(64, 64), (37, 101), (20, 5), (1, 70), (33, 31)])
def test_tiles_equal_the_whole_image_if_the_overlap_covers_the_receptive_field(size, scale):
    net = ConvNet(1, scale).eval()
    img = image(2, 1, *size)
    with torch.no_grad():
        want = net(img)
    net.largest = 0
    out = Inference(tile=24, tile_overlap=8)(net, img)  # 3/8 of 8 = 3 pixels, the radius
    assert (out - want).abs().max() < 1e-6
    assert net.largest <= 24 * 24


def test_tiles_are_aligned_with_the_multiple():
    net = ConvNet(size_multiple=4)
    starts = [v[0] for v in tile_spans(64, 22, 6, 4)]
    assert all(v % 4 == 0 for v in starts)
    out = Inference(tile=22, tile_overlap=8)(net, image(1, 1, 61, 47))
    whole = Inference()(net, image(1, 1, 61, 47))
    assert (out - whole).abs().max() < 1e-6


@pytest.mark.parametrize('size, tile, overlap', [(100, 30, 10), (31, 30, 15), (1000, 64, 32), (78, 8, 0), (7, 30, 10)])
def test_spans_cover_the_axis_with_at_least_the_overlap_and_no_more_pixels_than_needed(size, tile, overlap):
    spans = tile_spans(size, tile, overlap)
    assert spans[0][0] == 0 and spans[-1][1] == size
    assert all(start % 2 == 0 for start, _, _, _ in spans)
    length, number = spans[0][1], len(spans)
    assert {end - start for start, end, _, _ in spans} == {length} and length <= tile
    assert number == 1 or tile + (number - 2) * (tile - overlap) < size, 'fewer tiles would do'
    assert length - 1 + (number - 1) * (length - 1 - overlap) < size, 'shorter tiles would do'
    for (_, end, _, out_zone), (start, _, in_zone, _) in itertools.pairwise(spans):
        assert end - start >= overlap and out_zone == in_zone and start <= out_zone[0] <= out_zone[1] <= end
    zones = [v[2] for v in spans[1:]]
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(zones))


def test_tiles_beyond_the_field_stay_below_one_gray_level():
    # the filter reaches 20 pixels, of which the overlap of 16 covers 6; the image is a smooth ramp with waves
    class Smooth(nn.Module):

        def forward(self, x):
            kernel = torch.exp(-torch.arange(-20., 21.)**2 / 18)
            kernel = kernel / kernel.sum()
            x = F.conv2d(F.pad(x, (20, 20, 20, 20), mode='replicate'), kernel.view(1, 1, 1, -1))
            return F.conv2d(x, kernel.view(1, 1, -1, 1))

    y, x = torch.meshgrid(torch.arange(150.), torch.arange(170.), indexing='ij')
    img = (0.5 + 0.3 * torch.sin(x / 9) * torch.cos(y / 13))[None, None]
    diff = (Inference(tile=64, tile_overlap=16)(Smooth(), img) - Smooth()(img)).abs().max()
    assert 1e-6 < diff < 1 / 255


def test_tiles_refuse_a_network_that_shrinks():
    with pytest.raises(RuntimeError, match='neither padded nor tiled'):
        Inference(tile=16, tile_overlap=4)(nn.AvgPool2d(2), image(1, 1, 32, 32))


# ---------------------------------------- ensemble ----------------------------------------


def test_ensemble_is_the_mean_over_the_dihedral_group():
    net = ConvNet(1, 2).eval()
    img = image(1, 1, 9, 14)
    outs = []
    with torch.no_grad():
        for turns in range(4):
            for mirror in (False, True):
                v = torch.rot90(img, turns, (2, 3))
                out = net(v.flip(3)).flip(3) if mirror else net(v)
                outs.append(torch.rot90(out, -turns, (2, 3)))
    assert torch.stack(outs).std(0).max() > 1e-3  # the eight differ
    want = torch.stack(outs).mean(0)
    assert (restore_by_ensemble(net, img) - want).abs().max() < 1e-6
    for options in ({}, {'tile': 10, 'tile_overlap': 5, 'pad_multiple': 1}):
        out = Inference(self_ensemble=True, **options)(net, img)
        assert out.shape == want.shape
    assert (Inference(self_ensemble=True)(net, img) - want).abs().max() < 1e-6


def test_ensemble_makes_the_result_equivariant():
    net = ConvNet()
    img = image(1, 1, 7, 12)
    path = Inference(self_ensemble=True)
    assert (path(net, img.flip(2)).flip(2) - path(net, img)).abs().max() < 1e-6
    assert (path(net, img.transpose(2, 3)).transpose(2, 3) - path(net, img)).abs().max() < 1e-6


# ---------------------------------------- precision, mode ----------------------------------------


@pytest.mark.parametrize('precision, bound', [('bf16', 0.02), ('fp16', 0.003)])
def test_reduced_precision_is_close_and_gives_float32(precision, bound):
    net = ConvNet()
    img = image(1, 1, 16, 16)
    whole, reduced = Inference()(net, img), Inference(precision=precision)(net, img)
    assert reduced.dtype == torch.float32
    assert 0 < (whole - reduced).abs().max() < bound


def test_mode_of_every_module_is_kept_and_no_graph_is_built():
    net = ConvNet().train()
    net.body[0].eval()
    before = [m.training for m in net.modules()]
    out = Inference()(net, image(1, 1, 5, 5))
    assert [m.training for m in net.modules()] == before
    assert not out.requires_grad and out.shape == (1, 1, 5, 5)


def test_first_of_a_list_is_the_result():

    class Two(nn.Module):

        def forward(self, x):
            return x + 1, x

    img = image(1, 1, 4, 4)
    assert torch.equal(Inference()(Two(), img), img + 1)


# ---------------------------------------- local statistics ----------------------------------------


def test_window_mean_against_avg_pool():
    x = image(2, 3, 12, 17, seed=3)
    out = window_mean(x, (5, 7))
    valid = F.avg_pool2d(x.double(), (5, 7), stride=1)
    want = F.pad(valid, (3, 3, 2, 2), mode='replicate').float()
    torch.testing.assert_close(out, want, rtol=0, atol=1e-6)
    torch.testing.assert_close(window_mean(x, (20, 20)), x.mean((2, 3), keepdim=True))
    assert window_mean(x, (20, 7)).shape == (2, 3, 1, 17)


class Attention(nn.Module):

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.down = nn.Conv2d(1, 4, 2, 2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.gate = nn.Conv2d(4, 4, 1)

    def forward(self, x):
        x = self.down(x)
        return F.pixel_shuffle(x * torch.sigmoid(self.gate(self.pool(x))), 2)


@pytest.mark.parametrize('pool', [
    nn.AdaptiveAvgPool2d(1),
    lambda x: F.adaptive_avg_pool2d(x, 1),
    lambda x: F.avg_pool2d(x, x.shape[2:]),
])
def test_local_statistics_windows_follow_the_training_patch(pool):
    net = Attention().eval()
    del net.pool
    net.pool = pool
    img = image(1, 1, 64, 48)
    with torch.no_grad():
        x = net.down(img)
        want = F.pixel_shuffle(x * torch.sigmoid(net.gate(window_mean(x, (12, 12)))), 2)  # 16 / 2 * 1.5
        out = Inference(local_statistics=16)(net, img)
        torch.testing.assert_close(out, want)
        assert (out - net(img)).abs().max() > 1e-4
        # a window that covers the image is the global mean; other pooling is unchanged
        torch.testing.assert_close(Inference(local_statistics=64)(net, img), net(img))
        pool = nn.AdaptiveAvgPool2d(2)
        with LocalStatistics(4, (64, 48)):
            assert torch.equal(pool(img), nn.functional.adaptive_avg_pool2d(img, 2))
            assert torch.equal(F.avg_pool2d(img, 2), nn.AvgPool2d(2)(img)) and F.avg_pool2d(img, 2).shape[3] == 24
            net.pool(img)
    with pytest.raises(UsageError, match='no global average pooling'):
        Inference(local_statistics=16)(ConvNet(), img)


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_local_statistics_of_memorynet(precision):
    from memnet_basicsr.archs.memorynet_arch import MemoryNet
    torch.manual_seed(0)
    net = MemoryNet(num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1).eval()
    img = image(1, 3, 48, 40)
    infer = functools.partial(Inference, precision=precision)
    whole, local = infer()(net, img), infer(local_statistics=16)(net, img)
    assert local.shape == whole.shape and (whole - local).abs().max() > 1e-5
    torch.testing.assert_close(infer(local_statistics=48)(net, img), whole)


# ---------------------------------------- options ----------------------------------------


def test_from_options_takes_its_keys_only():
    path = Inference.from_options({'tile': 64, 'val_freq': 100, 'metrics': {}, 'self_ensemble': True})
    assert path == Inference(tile=64, self_ensemble=True)
    assert Inference.from_options(None) == Inference()


@pytest.mark.parametrize('options', [{
    'tile': 0
}, {
    'tile': 1.5
}, {
    'tile': True
}, {
    'tile': 32,
    'tile_overlap': 17
}, {
    'tile_overlap': -1
}, {
    'tile_overlap': 'wide'
}, {
    'precision': 'fp8'
}, {
    'self_ensemble': 1
}, {
    'pad_multiple': 0
}, {
    'local_statistics': True
}])
def test_contradictions_are_refused_in_one_line(options):
    with pytest.raises(UsageError) as error:
        Inference(**options)
    assert '\n' not in str(error.value) and next(iter(options)) in str(error.value)


# ---------------------------------------- prepared networks ----------------------------------------


class Doubling(nn.Module):
    """x + 2 * weight * x; records how it was called."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.))
        self.calls = []

    def forward(self, x):
        self.calls.append((self.scale.dtype, torch.is_autocast_enabled('cpu')))
        return x + (2 * self.scale * x.to(self.scale.dtype)).float()


def inference_form(net):
    form = Doubling().eval()
    form.load_state_dict(net.state_dict())
    return form


@pytest.mark.parametrize('precision, dtype, autocast', [('fp32', torch.float32, False), ('bf16', torch.bfloat16, False),
                                                        ('fp16', torch.float32, True)])
def test_prepared_network_holds_what_it_computes_in(precision, dtype, autocast, monkeypatch):
    monkeypatch.setitem(forms.INFERENCE, Doubling, inference_form)
    net, inference = Doubling(), Inference(precision=precision)
    ready = inference.prepare(net)
    assert ready is not net and net.training and net.scale.dtype == torch.float32
    out = inference(ready, image(1, 1, 4, 5))
    assert out.dtype == torch.float32 and ready.calls == [(dtype, autocast)]
    torch.testing.assert_close(out, 3 * image(1, 1, 4, 5), rtol=0.02, atol=0)


def test_what_cannot_or_may_not_be_prepared():
    net = Doubling()
    assert Inference(deploy=False).prepare(net) is net
    assert Inference().prepare(net) is net
    with pytest.raises(UsageError, match='deploy: 1 is not true or false'):
        Inference(deploy=1)
