import pytest
import torch
from torch import nn as nn

from memnet_basicsr.inference.description import describe
from memnet_basicsr.inference.weights import ARCH_REGISTRY, write_weights


class BlurForTests(nn.Module):
    """3x3 mean plus a learned offset; enlarges by repetition if `upscale` is above 1."""

    def __init__(self, num_in_ch=1, upscale=1):
        super().__init__()
        self.mean = nn.Conv2d(num_in_ch, num_in_ch, 3, 1, 1, groups=num_in_ch, padding_mode='replicate')
        nn.init.constant_(self.mean.weight, 1 / 9)
        nn.init.constant_(self.mean.bias, 0)
        self.offset = nn.Parameter(torch.zeros(1))
        self.upscale = upscale

    def forward(self, x):
        return nn.functional.interpolate(self.mean(x) + self.offset, scale_factor=self.upscale, mode='nearest')


@pytest.fixture(autouse=True, scope='session')
def blur_net():
    if 'BlurForTests' not in ARCH_REGISTRY:
        ARCH_REGISTRY.register(BlurForTests)
    return BlurForTests


@pytest.fixture
def make_weights(tmp_path):
    """Write a weights file of BlurForTests and return its path."""

    def make(task='denoise', suffix='.pth', offset=0., ema_offset=None, scale=None, network=None, **description):
        opt = {'name': 'tests', 'network_g': {'type': 'BlurForTests', **(network or {})}}
        params = BlurForTests(**(network or {})).state_dict()
        params['offset'] = torch.tensor([offset])
        ema = None if ema_offset is None else {**params, 'offset': torch.tensor([ema_offset])}
        path = str(tmp_path / f'weights_{task}{suffix}')
        write_weights(path, params, describe(opt, task, scale=scale, **description), ema)
        return path

    return make
