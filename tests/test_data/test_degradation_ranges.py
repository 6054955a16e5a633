"""Ranges and mixtures of degradations in training."""
import io
import numpy as np
import pytest
import random
from PIL import Image
from scipy.ndimage import gaussian_filter

from basicsr.data import build_dataset
from basicsr.utils.matlab_functions import imresize
from memnet_basicsr.data.jpeg_util import compress_jpeg
from memnet_basicsr.errors import UsageError


@pytest.fixture
def flat(tmp_path):
    """A folder with one image of two halves, 51 and 204 of 255."""
    img = np.full((96, 96), 51, np.uint8)
    img[:, 48:] = 204
    Image.fromarray(img).save(tmp_path / 'flat.png')
    return tmp_path


def make(folder, kind='NoisyImageDataset', **kwargs):
    opt = {'name': 'set', 'type': kind, 'phase': 'train', 'dataroot_gt': str(folder), 'gt_size': 96}
    return build_dataset({**opt, 'io_backend': {'type': 'disk'}, **kwargs})


def draw(dataset, count, seed=0):
    random.seed(seed)
    np.random.seed(seed)
    items = [dataset[0] for _ in range(count)]
    return [(v['lq'].numpy(), v['gt'].numpy()) for v in items]


def test_sigma_is_uniform_in_its_range(flat):
    sigmas = [255 * (lq - gt).std() for lq, gt in draw(make(flat, sigma_range=[10, 40]), 200)]
    assert 9.5 < min(sigmas) < 11.5 and 38.5 < max(sigmas) < 41
    assert np.mean(sigmas) == pytest.approx(25, abs=2) and np.std(sigmas) == pytest.approx(30 / 12**0.5, abs=1)


def test_quality_is_a_whole_number_in_its_range(flat, monkeypatch):
    dataset, seen = make(flat, 'JPEGImageDataset', quality_range=[7, 9]), []
    degrade = dataset.degrade
    monkeypatch.setattr(dataset, 'degrade', lambda img, level, rng: seen.append(level) or degrade(img, level, rng))
    draw(dataset, 40)
    assert set(seen) == {7, 8, 9} and all(type(v) is int for v in seen)


def test_share_of_clean_samples(flat):
    clean = [np.array_equal(lq, gt) for lq, gt in draw(make(flat, sigma=25, clean_prob=0.3), 300)]
    assert np.mean(clean) == pytest.approx(0.3, abs=0.08)
    assert not any(np.array_equal(lq, gt) for lq, gt in draw(make(flat, sigma=25), 50))


def test_camera_noise_grows_with_the_signal_and_is_8_bit(flat):
    """sigma^2 (1 - t + 2 t gt): the variance of the bright half exceeds that of the dark one; their mean is sigma^2."""
    dark, bright = [], []
    for lq, gt in draw(make(flat, sigma=10, camera_prob=1), 300):
        assert lq.min() >= 0 and lq.max() <= 1
        np.testing.assert_allclose(255 * lq, np.round(255 * lq), atol=1e-4)
        noise = 255 * (lq - gt)
        dark.append(noise[gt < 0.5].var())
        bright.append(noise[gt > 0.5].var())
    # t is uniform: E[variance] = 100 (1 - 1/2 + gt), and rounding adds 1/12
    assert np.mean(dark) == pytest.approx(100 * 0.7 + 1 / 12, rel=0.03)
    assert np.mean(bright) == pytest.approx(100 * 1.3 + 1 / 12, rel=0.03)
    assert max(bright) > 150 and min(dark) < 45


def test_jpeg_after_the_noise(flat):
    """Compression at quality 20 removes most of weak noise, so that flat halves are nearly flat again."""
    noisy = [255 * (lq - gt).std() for lq, gt in draw(make(flat, sigma=8), 20)]
    compressed = [255 * (lq - gt).std() for lq, gt in draw(make(flat, sigma=8, jpeg_prob=1, jpeg_range=[20, 20]), 20)]
    assert np.mean(compressed) < 0.7 * np.mean(noisy)


def test_gray_samples_have_three_equal_channels(tmp_path):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / 'color.png')
    for kind, level in (('NoisyImageDataset', {'sigma': 25}), ('JPEGImageDataset', {'quality': 20})):
        pairs = draw(make(tmp_path, kind, gt_size=32, color='rgb', gray_prob=0.5, **level), 60)
        gray = [all(np.array_equal(v[0], v[c]) for v in pair for c in (1, 2)) for pair in pairs]
        assert 0.3 < np.mean(gray) < 0.7
        assert not any(np.array_equal(lq, gt) for lq, gt in pairs)


@pytest.mark.parametrize('subsampling, pil', [('420', 2), ('444', 0)])
def test_subsampling_is_that_of_pillow(subsampling, pil):
    rng = np.random.default_rng(0)
    img = np.repeat(np.repeat(rng.integers(0, 256, (12, 12, 3), np.uint8), 4, 0), 4, 1)  # BGR
    buffer = io.BytesIO()
    Image.fromarray(img[..., ::-1]).save(buffer, 'jpeg', quality=50, subsampling=pil)
    expected = np.array(Image.open(buffer))[..., ::-1].astype(float)
    assert np.abs(compress_jpeg(img, 50, subsampling) - expected).mean() < 1


def test_full_chroma_and_double_compression(tmp_path):
    rng = np.random.default_rng(0)
    img = np.repeat(np.repeat(rng.integers(0, 256, (16, 16, 3), np.uint8), 4, 0), 4, 1)
    Image.fromarray(img).save(tmp_path / 'color.png')

    def error(**kwargs):
        pairs = draw(make(tmp_path, 'JPEGImageDataset', gt_size=48, color='rgb', quality=90, **kwargs), 20)
        return np.mean([np.abs(lq - gt).mean() for lq, gt in pairs])

    assert error(full_chroma_prob=1) < 0.7 * error() < 0.7 * error(double_prob=1)


def test_first_compression_has_other_blocks(flat, monkeypatch):
    from memnet_basicsr.data import jpeg_image_dataset
    calls = []
    monkeypatch.setattr(jpeg_image_dataset, 'compress_jpeg', lambda img, *args: calls.append(
        (img.shape[:2], args[0])) or img)
    draw(make(flat, 'JPEGImageDataset', quality=80, double_prob=1), 30)
    first, second = calls[::2], calls[1::2]
    assert {v for _, v in second} == {80} and all(20 <= v <= 95 for _, v in first)
    shifts = {(a[0] - b[0], a[1] - b[1]) for (a, _), (b, _) in zip(first, second)}
    assert len(shifts) > 10 and all(0 <= v < 8 for shift in shifts for v in shift)


def test_noise_of_the_small_image(flat):
    """Up-scaling by 2 multiplies the variance of white noise by the summed squares of the cubic's weights, per axis."""
    Image.fromarray(np.full((96, 96), 128, np.uint8)).save(flat / 'flat.png')
    dataset = make(flat, 'BicubicImageDataset', downscale=2, noise_prob=0.5, noise_sigma=20)
    variances = [(255 * (lq - gt))[:, 8:-8, 8:-8].var() for lq, gt in draw(dataset, 400)]
    noisy = [v for v in variances if v > 1e-4]
    assert len(noisy) / 400 == pytest.approx(0.5, abs=0.07)
    gain = sum(w**2 for w in (0.8671875, 0.2265625, -0.0703125, -0.0234375))
    assert np.mean(noisy) == pytest.approx(20**2 / 3 * gain**2, rel=0.15)


def test_compression_of_the_small_image_is_that_of_pillow(flat):
    img = np.random.default_rng(0).integers(0, 256, (24, 24), np.uint8).repeat(4, 0).repeat(4, 1)
    Image.fromarray(img).save(flat / 'flat.png')
    dataset = make(flat, 'BicubicImageDataset', downscale=3, jpeg_prob=1, jpeg_range=[40, 40])
    lq, gt = draw(dataset, 1)[0]
    small = np.clip(imresize(gt.transpose(1, 2, 0), 1 / 3) * 255, 0, 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(small[..., 0]).save(buffer, 'jpeg', quality=40)
    expected = imresize(np.array(Image.open(buffer))[..., None] / np.float32(255), 3)
    assert np.abs(lq[0] - expected[..., 0]).max() < 0.02


@pytest.mark.parametrize('kind, kwargs, words', [
    ('NoisyImageDataset', dict(sigma=25,
                               sigma_range=[0, 50]), 'sigma_range: cannot be combined with sigma; remove one of them'),
    ('NoisyImageDataset', dict(sigma_range=[50, 0]), 'not in ascending order'),
    ('NoisyImageDataset', dict(sigma_range=[0]), r'sigma_range: \[0\] is not a list of 2 numbers >= 0'),
    ('NoisyImageDataset', dict(sigma_range=[-1, 5]), r'sigma_range: \[-1, 5\] is not a list of 2 numbers >= 0'),
    ('NoisyImageDataset', dict(sigma_range=['a', 5]), r"sigma_range: \['a', 5\] is not a list of 2 numbers >= 0"),
    ('NoisyImageDataset', dict(sigma=25, clean_prob=1.5), r'clean_prob: 1.5 is not a number in \[0, 1\]'),
    ('NoisyImageDataset', dict(sigma=25, jpeg_prob=True), r'jpeg_prob: true is not a number in \[0, 1\]'),
    ('NoisyImageDataset', dict(sigma=25, jpeg_range=[90, 60]), 'jpeg_range'),
    ('NoisyImageDataset', dict(sigma=25, gray_prob=0.5), 'gray_prob: needs color: rgb'),
    ('BicubicImageDataset', dict(downscale=2, jpeg_range=[90, 60]), 'jpeg_range'),
    ('MixedImageDataset', dict(kinds='rain'), 'kinds'),
    ('MixedImageDataset', dict(kinds='blur', blur_range=[2, 1]), 'blur_range'),
    ('MixedImageDataset', dict(kinds=['blur', 'noise'], phase='val'), r'kinds: \[blur, noise\]: a validation set'),
    ('JPEGImageDataset', dict(quality_range=[0, 50]), r'quality_range: \[0, 50\] is not a list of 2 integers'),
    ('JPEGImageDataset', dict(quality_range=[5, 50.5]), r'quality_range: \[5, 50.5\] is not a list of 2 integers'),
])
def test_wrong_ranges(flat, kind, kwargs, words):
    with pytest.raises(UsageError, match=words):
        make(flat, kind, **kwargs)


def test_ranges_are_for_training(flat):
    with pytest.raises(UsageError, match='sigma_range: is supported in training sets only'):
        make(flat, phase='val', sigma_range=[0, 50])


def test_mixture_of_degradations(tmp_path):
    """Blur, noise and compression by other libraries, in this order; the strengths are uniform in their ranges."""
    rng = np.random.default_rng(0)
    img = rng.integers(0, 256, (24, 24, 3), np.uint8).repeat(4, 0).repeat(4, 1)
    Image.fromarray(img).save(tmp_path / 'color.png')
    ranges = dict(sigma_range=[20, 20], quality_range=[30, 30], blur_range=[1.5, 1.5], color='rgb')

    def item(kind, phase='train', **kwargs):
        dataset = make(tmp_path, 'MixedImageDataset', kinds=kind, phase=phase, **{**ranges, **kwargs})
        lq, gt = draw(dataset, 1)[0]
        return 255 * lq.transpose(1, 2, 0), 255 * gt.transpose(1, 2, 0)

    lq, gt = item('blur')
    blurred = np.stack([gaussian_filter(gt[..., c], 1.5, mode='mirror', radius=5) for c in range(3)], -1)
    assert np.abs(lq - blurred).max() < 0.6  # rounding
    lq, gt = item('noise', sigma_range=[5, 5])
    assert (lq - gt)[(gt > 30) & (gt < 225)].std() == pytest.approx(np.hypot(5, 12**-0.5), rel=0.03)
    lq, gt = item('jpeg')
    buffer = io.BytesIO()
    Image.fromarray(np.uint8(gt)).save(buffer, 'jpeg', quality=30)
    assert np.abs(lq - np.array(Image.open(buffer), np.float32)).mean() < 1
    # together: the sum of independent errors
    blurred, lq = item('blur', color='gray')[0], item('blur+noise+jpeg', color='gray', quality_range=[100, 100])[0]
    assert (lq - blurred)[(blurred > 70) & (blurred < 185)].std() == pytest.approx(20, rel=0.05)
    values = [item('noise', 'val', sigma_range=[0, 50], noise_seed=s)[0].std() for s in (1, 1, 2)]
    assert values[0] == values[1] != values[2]


@pytest.mark.parametrize('kind', ['blur', 'jpeg', 'blur+jpeg'])
def test_mixed_patch_is_a_part_of_the_whole_degraded_image(tmp_path, kind):
    img = np.random.default_rng(0).integers(0, 256, (30, 34, 1), np.uint8).repeat(4, 0).repeat(4, 1)[..., 0]
    Image.fromarray(img).save(tmp_path / 'gray.png')
    ranges = dict(quality_range=[30, 30], blur_range=[1.5, 1.5], color='gray', kinds=kind)
    whole = draw(make(tmp_path, 'MixedImageDataset', phase='val', **ranges), 1)[0]
    windows = {gt.tobytes(): lq for lq, gt in draw(make(tmp_path, 'MixedImageDataset', gt_size=32, **ranges), 20)}
    found = 0
    for top in range(120 - 31):
        for left in range(136 - 31):
            part = np.s_[:, top:top + 32, left:left + 32]
            lq = windows.get(np.ascontiguousarray(whole[1][part]).tobytes())
            if lq is not None:
                np.testing.assert_allclose(lq, whole[0][part], atol=1.1 / 255 if kind == 'blur+jpeg' else 1e-6)
                found += 1
    assert found == len(windows)
