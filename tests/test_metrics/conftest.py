import numpy as np
import pytest
import skimage.data
import torch

import memnet_basicsr  # noqa: F401

torch.set_num_threads(1)


@pytest.fixture(scope='session')
def pair():
    """A photograph and a darkened, noisy version: uint8, (120, 150, 3), BGR."""
    gt = np.ascontiguousarray(skimage.data.astronaut()[60:180, 140:290, ::-1])
    noise = np.random.RandomState(0).randn(*gt.shape) * 8
    return np.clip(np.round(gt * .8 + noise), 0, 255).astype(np.uint8), gt


@pytest.fixture(scope='session')
def mask():
    """A disc with gray pixels along its edge: uint8, (120, 150)."""
    rows, columns = np.mgrid[:120, :150]
    distance = np.hypot(rows - 55, columns - 80)
    return np.clip((36 - distance) * 64, 0, 255).astype(np.uint8)
