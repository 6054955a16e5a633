"""Data, options and comparisons of tiny runs of BasicSR's unmodified train.py."""
import copy
import cv2
import json
import numpy as np
import os
import torch
import yaml
from os import path as osp
from torch import nn

import memnet_basicsr  # noqa: F401  (BasicSR imports only behind it)
from basicsr.utils.registry import ARCH_REGISTRY


@ARCH_REGISTRY.register()
class TinyNetForTests(nn.Module):
    """Two convolutions around the identity, with BatchNorm on demand."""

    def __init__(self, num_in_ch=1, num_feat=6, norm=False):
        super().__init__()
        self.head = nn.Conv2d(num_in_ch, num_feat, 3, 1, 1)
        self.norm = nn.BatchNorm2d(num_feat) if norm else nn.Identity()
        self.tail = nn.Conv2d(num_feat, num_in_ch, 3, 1, 1)

    def forward(self, x):
        return x + self.tail(torch.relu(self.norm(self.head(x))))


def write_images(folder, train=6, val=3, size=(30, 34), channels=1):
    """Smooth noise as PNG files below pics/train and pics/val."""
    rng = np.random.RandomState(0)
    for split, count in (('train', train), ('val', val)):
        os.makedirs(osp.join(folder, 'pics', split), exist_ok=True)
        for i in range(count):
            img = cv2.GaussianBlur(rng.rand(size[0], size[1] + i, channels).astype(np.float32), (7, 7), 2)
            img = ((img - img.min()) / (img.max() - img.min()) * 255).astype(np.uint8)
            cv2.imwrite(osp.join(folder, 'pics', split, f'p{i}.png'), img)


def options(**changes):
    """Options of a run that has everything which makes resuming hard; ``train__ema_decay=0`` changes one of them."""
    noisy = {'type': 'NoisyImageDataset', 'io_backend': {'type': 'disk'}}
    psnr = {'type': 'calculate_psnr', 'crop_border': 0}
    opt = {
        'name': 'run',
        'model_type': 'RestorationModel',
        'scale': 1,
        'num_gpu': 0,
        'manual_seed': 3,
        'datasets': {
            'train': {
                **noisy, 'name': 'a', 'dataroot_gt': 'pics/train', 'sigma': [30, 50], 'gt_size': 12, 'use_hflip': True,
                'use_rot': True, 'num_worker_per_gpu': 0, 'batch_size_per_gpu': 4, 'dataset_enlarge_ratio': 2
            },
            'val_1': {
                **noisy, 'name': 'v1', 'dataroot_gt': 'pics/val', 'sigma': 30
            },
            'val_2': {
                **noisy, 'name': 'v2', 'dataroot_gt': 'pics/val', 'sigma': 50,
                'metrics': {'psnr': {**psnr, 'crop_border': 2}}
            },
        },
        'network_g': {'type': 'MemNet', 'num_in_ch': 1, 'num_feat': 4, 'num_block': 2, 'num_recursion': 1},
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': 0.9,
            'optim_g': {'type': 'AdamW', 'lr': 1e-3},
            'scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [20]},
            'total_iter': 20,
            'warmup_iter': 3,
            'pixel_opt': {'type': 'MultiSupervisedLoss'},
        },
        'val': {
            'val_freq': 6, 'save_img': False, 'quantize': False,
            'metrics': {'psnr': psnr, 'ssim': {'type': 'calculate_ssim', 'crop_border': 0}}
        },
        'logger': {'print_freq': 5, 'save_checkpoint_freq': 6, 'use_tb_logger': False},
    }  # yapf: disable
    for place, value in changes.items():
        *blocks, key = place.split('__')
        block = opt
        for name in blocks:
            block = block[name]
        if value is None:
            block.pop(key, None)
        else:
            block[key] = value
    return copy.deepcopy(opt)


def model_options(folder, **changes):
    """Options as BasicSR's parser hands them to a model, without a run."""
    opt = options(**changes)
    root = str(folder)
    opt.update(dist=False, rank=0, world_size=1, is_train=True, auto_resume=False, iters_per_epoch=3)
    opt['path'].update(models=root, training_states=root, log=root, visualization=osp.join(root, 'visualization'))
    for key, block in opt['datasets'].items():
        block['phase'] = key.split('_')[0]
    return opt


def batch(seed=0, size=4, channels=1, pixels=12):
    """A degraded and a clean batch."""
    generator = torch.Generator().manual_seed(seed)
    gt = torch.rand(size, channels, pixels, pixels, generator=generator)
    return {'lq': gt + 0.1 * torch.randn(gt.shape, generator=generator), 'gt': gt}


def write_options(folder, opt, name='t.yml'):
    with open(osp.join(folder, name), 'w', encoding='utf-8') as f:
        yaml.safe_dump(opt, f, sort_keys=False)


def load(folder, file):
    return torch.load(osp.join(folder, 'experiments', 'run', file), weights_only=True)


def read(folder, file):
    with open(osp.join(folder, 'experiments', 'run', file), encoding='utf-8') as f:
        return f.read()


def read_metrics(folder):
    return [json.loads(line) for line in read(folder, 'metrics.jsonl').splitlines()]


def assert_same(a, b, place=''):
    """Bit for bit the same tensors and values."""
    assert type(a) is type(b), place
    if isinstance(a, dict):
        assert list(a) == list(b), place
        for key in a:
            assert_same(a[key], b[key], f'{place}/{key}')
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), place
        for i, (x, y) in enumerate(zip(a, b)):
            assert_same(x, y, f'{place}/{i}')
    elif torch.is_tensor(a):
        assert torch.equal(a, b), place
    else:
        assert a == b or a != a, (place, a, b)


def assert_same_run(a, b, last_state):
    """Two runs ended alike: weights, averages, optimizer, schedule, random states, best records, validations."""
    for file in ('models/net_g_latest.pth', f'models/net_g_{last_state}.pth', f'training_states/{last_state}.state'):
        contents = [load(folder, file) for folder in (a, b)]
        for content in contents:
            content.get('memnet_basicsr', {}).pop('options', None)  # workers and the like may differ
            content.pop('epoch',
                        None)  # at the end of an epoch, a run that is asked to stop saves the beginning of the next
        assert_same(*contents, file)
    assert read(a, 'metrics.jsonl') == read(b, 'metrics.jsonl')
    # beside this folder, BasicSR archives runs that were killed before their first checkpoint, as they were
    leftovers = [v for _, _, names in os.walk(osp.join(b, 'experiments/run')) for v in names if '.part' in v]
    assert not leftovers, leftovers
