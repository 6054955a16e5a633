import numpy as np
import pytest
import skimage.data
from scipy.ndimage import gaussian_filter
from skimage.restoration import estimate_sigma as estimate_by_skimage

from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.input_level import check_strength, choose_network, estimate_sigma, outside_range

NETWORKS = {
    'color': {
        'task': 'denoise',
        'network_g': {
            'type': 'X',
            'num_in_ch': 3
        },
        'range': {
            'sigma': [0, 75]
        }
    },
    'gray': {
        'task': 'denoise',
        'network_g': {
            'type': 'X',
            'num_in_ch': 1
        },
        'range': {
            'sigma': [0, 50]
        }
    },
    'old': {
        'task': 'denoise',
        'network_g': {
            'type': 'X'
        }
    },
    'jpeg': {
        'task': 'jpeg',
        'network_g': {
            'type': 'X'
        },
        'range': {
            'quality': [5, 98]
        }
    },
}


@pytest.mark.parametrize('sigma', [10, 25, 50])
@pytest.mark.parametrize('channels', [1, 3])
def test_noise_is_estimated(sigma, channels):
    img = skimage.data.chelsea()[:, :, :channels].astype(float)
    noisy = img + np.random.default_rng(0).normal(0, sigma, img.shape)
    assert abs(estimate_sigma(noisy / 255) - sigma) < 0.1 * sigma
    # an independent implementation
    want = estimate_by_skimage(noisy, average_sigmas=True, channel_axis=2)
    np.testing.assert_allclose(estimate_sigma(noisy / 255), want, rtol=0.01)


def test_dtypes_agree():
    img = np.random.default_rng(0).normal(128, 20, (64, 64)).round().clip(0, 255)
    want = estimate_sigma(img / 255)
    assert estimate_sigma(img.astype(np.uint8)) == pytest.approx(want, rel=1e-5)
    assert estimate_sigma((img * 257).astype(np.uint16)) == pytest.approx(want, rel=1e-5)


def test_documents_graphics_and_flat_images_are_clean():
    page = skimage.data.page()
    document = np.where(page > np.percentile(page, 20), 255, 0).astype(np.uint8)
    assert estimate_sigma(document) < 1e-6 and estimate_sigma(np.full((32, 32, 3), 7, np.uint8)) < 1e-6
    assert estimate_sigma(gaussian_filter(skimage.data.camera(), 1)) < 2


def test_tiny_images_are_unknown():
    assert estimate_sigma(np.zeros((15, 40), np.uint8)) is None


@pytest.mark.parametrize('levels, channels, want, words', [
    ({'sigma': 30., 'quality': None}, 3, 'color', 'noise sigma about 30'),
    ({'sigma': 30., 'quality': None}, 1, 'gray', 'noise sigma about 30'),
    ({'sigma': 65., 'quality': None}, 1, 'color', 'noise sigma about 65'),  # beyond the range of gray
    ({'sigma': 30., 'quality': 20}, 3, 'jpeg', 'JPEG quality 20'),
    ({'sigma': 30., 'quality': 95}, 3, 'color', 'noise sigma about 30'),
    ({'sigma': 2., 'quality': 95}, 3, None, 'looks clean (noise sigma about 2, JPEG quality 95)'),
    ({'sigma': None, 'quality': None}, 3, None, 'looks clean (noise sigma unknown (the image is too small))'),
])  # yapf: disable
def test_choice_of_the_network(levels, channels, want, words):
    assert choose_network(levels, channels, NETWORKS) == (want, words)


def test_a_network_for_noise_and_compression():
    networks = {
        **NETWORKS, 'mixture': {
            'task': 'restore',
            'network_g': {
                'type': 'X',
                'backbone': {
                    'num_in_ch': 3
                }
            },
            'range': {
                'sigma': [0, 50],
                'quality': [10, 90]
            }
        }
    }
    assert choose_network({'sigma': 30., 'quality': 20}, 3, networks) \
        == ('mixture', 'JPEG quality 20, noise sigma about 30')
    assert choose_network({'sigma': 1., 'quality': 20}, 3, networks) == ('jpeg', 'JPEG quality 20')
    assert choose_network({'sigma': 3., 'quality': 80}, 3, networks) == ('jpeg', 'JPEG quality 80')
    assert choose_network({'sigma': 3., 'quality': 20}, 3, networks)[0] == 'mixture'  # JPEG has removed most of it
    assert choose_network({'sigma': 30., 'quality': None}, 3, networks)[0] == 'color'


def test_networks_without_a_range_are_not_chosen():
    name, reason = choose_network({'sigma': 30., 'quality': None}, 1, {'old': NETWORKS['old']})
    assert name is None and reason == 'noise sigma about 30, but no bundled network states a range of noise sigma'


def test_levels_outside_the_range():
    assert outside_range({'sigma': 80., 'quality': 3}, {'sigma': [0, 75], 'quality': [5, 98]}) \
        == ['JPEG quality 3 is outside the range 5 to 98']  # the estimate of noise has a tolerance of a tenth
    assert outside_range({'sigma': 83.}, {'sigma': [0, 75]}) == ['noise sigma about 83 is outside the range 0 to 75']
    assert outside_range({'sigma': None}, {'sigma': [1, 2], 'quality': [5, 98]}) == []


def test_strength_outside_its_range():
    assert check_strength(0) == 0 and check_strength(1) == 1
    for strength in (-0.1, 1.1, float('nan'), True, '1', None):
        with pytest.raises(UsageError, match=r'is not a number in \[0, 1\]'):
            check_strength(strength)
