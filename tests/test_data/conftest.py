import cv2
import numpy as np
import pytest
import torch

import memnet_basicsr  # noqa: F401

torch.set_num_threads(1)


@pytest.fixture
def image_folder(tmp_path):
    """A folder of three smooth color images with some texture; returns a function that makes more of them."""

    def make(name='images', shapes=((60, 84), (72, 51), (90, 90)), gray=False):
        folder = tmp_path / name
        folder.mkdir()
        for i, (h, w) in enumerate(shapes):
            rng = np.random.RandomState(i)
            img = cv2.resize(
                rng.randint(0, 256, (h // 6 + 2, w // 6 + 2, 3), dtype=np.uint8), (w, h), interpolation=cv2.INTER_CUBIC)
            if gray:
                img = img[..., 0]
            cv2.imwrite(str(folder / f'p{i}.png'), img)
        return folder

    return make
