import numpy as np
import pytest
from scipy import ndimage

from memnet_basicsr.data.motion_blur_util import blur, draw_motion, motion_kernel


def test_no_way_is_no_blur():
    np.testing.assert_array_equal(motion_kernel(0, 1.), [[1.]])


def test_horizontal_and_vertical_kernels():
    # a point that moves evenly over 4 pixels: half a pixel's share at either end
    row = np.zeros((5, 5))
    row[2] = [.125, .25, .25, .25, .125]
    np.testing.assert_allclose(motion_kernel(4, 0.), row, atol=2e-3)
    np.testing.assert_allclose(motion_kernel(4, np.pi / 2), row.T, atol=2e-3)


@pytest.mark.parametrize('length, angle', [(5., .3), (9.7, 1.2), (15., 2.9), (.4, .7)])
def test_kernel_has_the_moments_of_a_segment(length, angle):
    kernel = motion_kernel(length, angle)
    assert kernel.sum() == pytest.approx(1) and kernel.min() >= 0 and len(kernel) % 2 == 1
    np.testing.assert_allclose(kernel, kernel[::-1, ::-1], atol=1e-15)
    offset = np.arange(len(kernel)) - len(kernel) // 2
    y, x = -offset[:, None], offset[None]  # y upwards
    # variances of an even motion are length^2 / 12 along the line, and those of interpolation below 1/4 in x and y
    for axis, part in ((x, np.cos(angle)), (y, np.sin(angle))):
        assert 0 <= (kernel * axis**2).sum() - (length * part)**2 / 12 < .26
    assert (kernel * x * y).sum() == pytest.approx(length**2 / 12 * np.cos(angle) * np.sin(angle), rel=.02, abs=1e-3)


def test_motion_depends_on_key_and_seed_alone():
    motions = {(key, seed): draw_motion(key, seed, 5, 15) for key in ('a', 'b') for seed in (0, 1)}
    assert len(set(motions.values())) == 4
    assert draw_motion('a', 0, 5, 15) == motions['a', 0] == pytest.approx((11.803387, 0.769645), abs=1e-5)
    lengths, angles = np.array([draw_motion(f'p{i}', 0, 5, 15) for i in range(500)]).T
    assert 5 <= lengths.min() < 5.2 and 14.8 < lengths.max() <= 15 and 0 <= angles.min() < .1
    assert 3 < angles.max() < np.pi


def test_blur_against_scipy():
    img = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    kernel = motion_kernel(7., .6)
    expected = np.stack([ndimage.correlate(img[..., i].astype(float), kernel, mode='mirror') for i in range(3)], -1)
    found = blur(img, kernel)
    assert found.dtype == np.uint8 and np.abs(found - expected).max() <= .5 + 1e-9
    assert blur(img[..., :1], kernel).shape == (20, 31, 1)
