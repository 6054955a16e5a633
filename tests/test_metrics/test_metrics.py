import cv2
import io
import math
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2lab, rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from basicsr.metrics import calculate_metric, calculate_psnr, calculate_ssim
from memnet_basicsr.errors import UsageError
from memnet_basicsr.metrics import (calculate_lab_error, calculate_masked_psnr, calculate_masked_ssim,
                                    calculate_psnr_luma, calculate_region_psnr, calculate_region_ssim,
                                    calculate_ssim_3d, calculate_ssim_luma)
from memnet_basicsr.metrics.lab import bgr2lab
from memnet_basicsr.metrics.psnr_ssim import psnr, ssim
from memnet_basicsr.metrics.regions import select_region

WITH_MASK = ['lab_error', 'masked_psnr', 'masked_ssim', 'region_psnr', 'region_ssim']
ALL = [*WITH_MASK, 'psnr_luma', 'ssim_luma', 'ssim_3d']

# ---------------------------------------------------------------------------- all of them


@pytest.mark.parametrize('name', ALL)
def test_registered_and_called_as_basicsr_calls(pair, mask, name):
    opt = {'type': f'calculate_{name}', 'crop_border': 2, 'better': 'higher'}
    value = calculate_metric({'img': pair[0], 'img2': pair[1], 'mask': mask}, opt)
    assert type(value) is float and math.isfinite(value)
    floats = {'img': pair[0].astype(np.float64), 'img2': pair[1].astype(np.float64), 'mask': mask}
    assert abs(calculate_metric(floats, opt) - value) < .01 * abs(value)


@pytest.mark.parametrize('name', ALL)
def test_crop_border(pair, mask, name):
    opt = {'type': f'calculate_{name}'}
    inner = np.s_[7:-7, 7:-7]
    whole = {'img': pair[0], 'img2': pair[1], 'mask': mask}
    cropped = {key: np.ascontiguousarray(v[inner]) for key, v in whole.items()}
    assert calculate_metric(whole, {**opt, 'crop_border': 7}) == calculate_metric(cropped, {**opt, 'crop_border': 0})


@pytest.mark.parametrize('name, perfect', [(v, math.inf if 'psnr' in v else 0 if v == 'lab_error' else 1) for v in ALL])
def test_perfect_image(pair, mask, name, perfect):
    value = calculate_metric({
        'img': pair[1],
        'img2': pair[1],
        'mask': mask
    }, {
        'type': f'calculate_{name}',
        'crop_border': 0
    })
    assert value == pytest.approx(perfect, abs=1e-12)


@pytest.mark.parametrize('name', WITH_MASK)
def test_faults_are_told(pair, mask, name):
    data = {'img': pair[0], 'img2': pair[1]}
    opt = {'type': f'calculate_{name}', 'crop_border': 0, 'region': 'shadow'}
    with pytest.raises(UsageError, match='dataroot_mask'):
        calculate_metric(data, opt)
    with pytest.raises(UsageError, match='same size'):
        calculate_metric({**data, 'mask': mask[1:]}, opt)
    with pytest.raises(UsageError, match='use one of all, shadow, nonshadow'):
        calculate_metric({**data, 'mask': mask}, {**opt, 'region': 'umbra'})


# ---------------------------------------------------------------------------- regions


@pytest.mark.parametrize('channels', [None, 3])
def test_plain_psnr_and_ssim_are_those_of_basicsr(channels):
    img, img2 = np.random.default_rng(0).uniform(0, 255, (2, 17, 23, *([channels] if channels else [])))
    img2 = 0.7 * img + 0.3 * img2
    assert psnr(img, img2) == pytest.approx(calculate_psnr(img, img2, 0), rel=1e-12)
    assert ssim(img, img2) == pytest.approx(calculate_ssim(img, img2, 0), rel=1e-9)
    assert psnr(img, img) == float('inf') and ssim(img, img) == pytest.approx(1)


def test_regions(mask):
    regions = {name: select_region(mask.shape, name, mask) for name in ('all', 'shadow', 'nonshadow')}
    assert regions['all'].all() and np.array_equal(regions['shadow'], mask != 0)
    assert np.array_equal(regions['shadow'], ~regions['nonshadow'])
    assert np.array_equal(select_region(mask.shape, 'shadow', mask[..., None]), regions['shadow'])


def test_empty_region_is_not_a_number(pair):
    empty = np.zeros(pair[0].shape[:2], np.uint8)
    for metric in (calculate_lab_error, calculate_region_psnr, calculate_region_ssim):
        assert math.isnan(metric(*pair, 0, mask=empty, region='shadow'))


# ---------------------------------------------------------------------------- LAB


def test_lab_d65_is_that_of_scikit_image(pair):
    assert np.abs(bgr2lab(pair[1], 'D65') - rgb2lab(pair[1][..., ::-1])).max() < .02


def test_lab_d50_is_that_of_a_colour_profile(pair):
    """Little CMS converts by ICC profiles, whose connection space has the white point D50, as MATLAB's makecform."""
    profiles = ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB')
    img = Image.fromarray(np.ascontiguousarray(pair[1][..., ::-1]))
    img = ImageCms.applyTransform(img, ImageCms.buildTransform(*profiles, 'RGB', 'LAB'))
    lightness, a, b = (np.array(band).astype(np.float64) for band in img.split())
    lab = np.stack([lightness * 100 / 255, a - 128, b - 128], axis=-1)
    assert np.abs(bgr2lab(pair[1], 'D50') - lab).max() < 1.3  # a and b are whole numbers there
    assert np.abs(bgr2lab(pair[1], 'D50') - lab).mean() < .35
    assert np.abs(bgr2lab(pair[1], 'D65') - lab).mean() > .4


def test_lab_of_white_black_and_gray():
    img = np.array([[[0] * 3, [255] * 3, [119] * 3]], np.uint8)
    for white in ('D50', 'D65'):
        assert np.allclose(bgr2lab(img, white)[0], [[0, 0, 0], [100, 0, 0], [50.03, 0, 0]], atol=.01)


@pytest.mark.parametrize('region', ['all', 'shadow', 'nonshadow'])
def test_lab_presets_against_scikit_image(pair, mask, region):
    labs = [rgb2lab(v[..., ::-1]) for v in pair]
    chosen = {'all': mask >= 0, 'shadow': mask != 0, 'nonshadow': mask == 0}[region]
    difference = (labs[0] - labs[1])[chosen]
    args = (*pair, 0, mask, region)
    assert calculate_lab_error(*args, 'sid', white='D65') == pytest.approx(np.abs(difference).sum(1).mean(), rel=1e-3)
    rmse = math.sqrt((difference**2).sum() / len(difference))
    assert calculate_lab_error(*args, 'memorynet', white='D65') == pytest.approx(rmse, rel=1e-3)
    assert calculate_lab_error(*args, 'sid') == pytest.approx(np.abs(difference).sum(1).mean(), rel=.05)


@pytest.mark.parametrize('region', ['all', 'shadow', 'nonshadow'])
def test_shadowformer_preset_against_pillow(pair, mask, region):
    """Resized by Pillow, whose bicubic is MATLAB's inside the image and differs along its border."""
    small = [np.array(Image.fromarray(v).resize((256, 256), Image.Resampling.BICUBIC)) for v in (*pair, mask)]
    labs = [rgb2lab(v[..., ::-1]) for v in small[:2]]
    chosen = {'all': small[2] >= 0, 'shadow': small[2] != 0, 'nonshadow': small[2] == 0}[region]
    expected = np.abs(labs[0] - labs[1])[chosen].sum(1).mean()
    value = calculate_lab_error(*pair, 0, mask, region, 'shadowformer', white='D65')
    assert value == pytest.approx(expected, rel=.005)
    assert calculate_lab_error(*pair, 0, mask, region, 'sid', white='D65') != pytest.approx(expected, rel=.01)


def test_lab_faults(pair):
    with pytest.raises(UsageError, match='shadowformer'):
        calculate_lab_error(*pair, 0, preset='dsc')
    with pytest.raises(UsageError, match='D65'):
        calculate_lab_error(*pair, 0, white='E')
    with pytest.raises(UsageError, match='color'):
        calculate_lab_error(pair[0][..., :1], pair[1][..., :1], 0)


# ---------------------------------------------------------------------------- PSNR and SSIM by region


def test_region_psnr(pair, mask):
    for region, chosen in (('shadow', mask != 0), ('nonshadow', mask == 0)):
        expected = peak_signal_noise_ratio(pair[1][chosen], pair[0][chosen])
        assert calculate_region_psnr(*pair, 0, mask, region) == pytest.approx(expected)
    assert calculate_region_psnr(*pair, 0) == pytest.approx(calculate_psnr(*pair, 0))


def test_region_ssim(pair, mask):
    _, full = structural_similarity(
        *pair, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, channel_axis=2, full=True)
    inner = np.s_[5:-5, 5:-5]
    for region, chosen in (('shadow', mask != 0), ('nonshadow', mask == 0)):
        value = calculate_region_ssim(*pair, 0, mask, region)
        assert value == pytest.approx(full[inner][chosen[inner]].mean(), abs=1e-6)
    assert calculate_region_ssim(*pair, 0) == pytest.approx(calculate_ssim(*pair, 0), abs=1e-9)


def test_masked_figures_of_the_literature(pair, mask):
    shadow = (mask != 0)[..., None]
    expected = peak_signal_noise_ratio(pair[1] * shadow, pair[0] * shadow)
    assert calculate_masked_psnr(*pair, 0, mask) == pytest.approx(expected)
    share = shadow.mean()
    assert expected - calculate_region_psnr(*pair, 0, mask, 'shadow') == pytest.approx(-10 * math.log10(share))
    _, full = structural_similarity(
        *(v * shadow for v in pair),
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        channel_axis=2,
        full=True)
    assert calculate_masked_ssim(*pair, 0, mask) == pytest.approx(full[5:-5, 5:-5].mean(), abs=1e-6)


# ---------------------------------------------------------------------------- 3-D SSIM


def _ssim_of_means(a, b, mean):
    c1, c2 = (.01 * 255)**2, (.03 * 255)**2
    ma, mb = mean(a), mean(b)
    va, vb, vab = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
    return float(((2 * ma * mb + c1) * (2 * vab + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())


def test_ssim_3d_against_scipy(pair):
    a, b = (v.astype(np.float64) for v in pair)
    expected = _ssim_of_means(a, b, lambda v: gaussian_filter(v, 1.5, mode='nearest', truncate=5 / 1.5))
    assert calculate_ssim_3d(*pair, 0) == pytest.approx(expected, abs=1e-9)


def test_ssim_3d_against_a_convolution(pair):
    """One 11x11x11 kernel over the image as a volume, its border replicated."""
    x = torch.arange(-5, 6, dtype=torch.float64)
    kernel = torch.exp(-(x[:, None, None]**2 + x[:, None]**2 + x**2) / (2 * 1.5**2))
    kernel = (kernel / kernel.sum())[None, None]

    def mean(v):
        return torch.nn.functional.conv3d(torch.nn.functional.pad(v, (5, ) * 6, mode='replicate'), kernel)

    a, b = (torch.from_numpy(v[:40, :50].astype(np.float64))[None, None] for v in pair)
    ours = calculate_ssim_3d(pair[0][:40, :50], pair[1][:40, :50], 0)
    assert ours == pytest.approx(_ssim_of_means(a, b, mean), abs=1e-9)


def test_ssim_3d_of_one_channel_is_that_of_two_dimensions(pair):
    a, b = (v[..., 0].astype(np.float64) for v in pair)
    expected = _ssim_of_means(a, b, lambda v: gaussian_filter(v, 1.5, mode='nearest', truncate=5 / 1.5))
    assert calculate_ssim_3d(pair[0][..., 0], pair[1][..., :1][..., 0], 0) == pytest.approx(expected, abs=1e-9)
    assert calculate_ssim_3d(*pair, 0) > calculate_ssim(*pair, 0)


# ---------------------------------------------------------------------------- luminance


def test_full_range_is_that_of_opencv_and_pillow(pair):
    ys = [cv2.cvtColor(v, cv2.COLOR_BGR2YCrCb)[:, :, 0] for v in pair]
    assert calculate_psnr_luma(*pair, 0) == pytest.approx(calculate_psnr(*ys, 0), abs=2e-3)
    assert calculate_ssim_luma(*pair, 0) == pytest.approx(calculate_ssim(*ys, 0), abs=1e-4)
    code = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pair[1][..., ::-1])).convert('L').save(code, 'PNG')
    assert np.abs(np.array(Image.open(code)).astype(int) - ys[1]).max() <= 1


def test_limited_range_is_that_of_scikit_image(pair):
    ys = [np.round(rgb2ycbcr(v[..., ::-1])[..., 0]) for v in pair]
    assert calculate_psnr_luma(*pair, 0, 'limited') == pytest.approx(peak_signal_noise_ratio(*ys, data_range=255))
    assert calculate_ssim_luma(*pair, 0, 'limited') == pytest.approx(calculate_ssim(*ys, 0), abs=1e-9)
    floats = [v.astype(np.float64) for v in pair]
    gain = calculate_psnr_luma(*floats, 0, 'limited') - calculate_psnr_luma(*floats, 0, 'full')
    assert gain == pytest.approx(20 * math.log10(255 / 219), abs=.01)
    assert calculate_psnr_luma(*floats, 0, 'limited') == pytest.approx(
        calculate_psnr(*pair, 0, test_y_channel=True), abs=1e-3)


def test_luma_is_cut_to_a_multiple(pair):
    a, b = (v[:119, :147] for v in pair)
    assert calculate_psnr_luma(a, b, 0, multiple=4) == calculate_psnr_luma(a[:116, :144], b[:116, :144], 0)
    with pytest.raises(ValueError, match='limited'):
        calculate_psnr_luma(a, b, 0, y_range='video')
    with pytest.raises(ValueError, match=r'\(3, 119, 147\)'):
        calculate_psnr_luma(a.transpose(2, 0, 1), b.transpose(2, 0, 1), 0)
