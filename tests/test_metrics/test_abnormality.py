import math
import numpy as np
import pytest

from memnet_basicsr.errors import UsageError
from memnet_basicsr.metrics import calculate_abnormality_auroc


def auroc(mask, values, **kwargs):
    img = np.zeros((*mask.shape, 3))
    return calculate_abnormality_auroc(img, img, 0, mask=mask, abnormality=values, **kwargs)


def test_equals_the_share_of_ordered_pairs():
    rng = np.random.RandomState(0)
    mask = (rng.rand(9, 7) > 0.6) * 255
    values = rng.randint(0, 6, (9, 7)).astype(float)  # with ties
    pairs = [(a > b) + 0.5 * (a == b) for a in values[mask > 0] for b in values[mask == 0]]
    assert auroc(mask, values) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_perfect_reversed_and_constant_maps():
    mask = np.zeros((4, 4))
    mask[:2] = 255
    assert auroc(mask, mask[..., None]) == 1
    assert auroc(mask, -mask) == 0
    assert auroc(mask, np.ones((4, 4))) == 0.5


def test_empty_region_and_missing_map():
    assert math.isnan(auroc(np.zeros((3, 3)), np.ones((3, 3))))
    with pytest.raises(UsageError, match='abnormality: true'):
        auroc(np.zeros((3, 3)), None)
