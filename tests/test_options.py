"""Every option file trains 2 iterations and validates (20 for the main ones), with less width, patch and batch."""
import cv2
import logging
import numpy as np
import pytest
import sys
import torch
import yaml
from pathlib import Path

from basicsr.archs import build_network
from basicsr.models import build_model
from basicsr.test import test_pipeline as run_test
from basicsr.train import train_pipeline
from basicsr.utils import logger as basicsr_logger
from memnet_basicsr.archs.memory_util import LEVELS
from memnet_basicsr.data.lmdb_util import write_lmdb
from memnet_basicsr.plugin.check import check_options
from memnet_basicsr.plugin.option_file import load_yaml

OPTIONS = Path(__file__).parent.parent / 'options'
TRAIN = sorted(p for p in OPTIONS.rglob('train_*.yml'))
TEST = sorted(OPTIONS.glob('test_*.yml'))
LONG = ('train_MemNet_Denoise_BSD', 'train_MemNet_JPEG_BSD', 'train_MemNet_SR_291', 'train_MemoryNet_GoPro',
        'train_MemoryNet_RICE1')  # yapf: disable
AUGMENTED = [p for p in TRAIN if 'type: MemoryAugmented' in p.read_text() and '  level: [' in p.read_text()]


def plain(value):
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return [plain(v) for v in value] if isinstance(value, list) else value


def image(seed, channels):
    img = np.random.RandomState(seed).rand(52, 60, channels).astype(np.float32)
    img = cv2.GaussianBlur(img, (0, 0), 2).reshape(52, 60, channels)
    return ((img - img.min()) / (img.max() - img.min()) * 255).astype(np.uint8)


def make_data(opt, folder):
    """Tiny LMDBs and folders in the place of those that an option file names."""
    for block in opt['datasets'].values():
        for key in ('dataroot_gt', 'dataroot_lq', 'dataroot_mask'):
            if key not in block:
                continue
            target = folder / block[key]
            channels = 1 if key == 'dataroot_mask' or target.stem.endswith(('_gray', '_y')) else 3
            shift = {'dataroot_gt': 0, 'dataroot_lq': 3, 'dataroot_mask': 7}[key]
            step = opt.get('scale', 1) if key == 'dataroot_lq' else 1
            images = [(f'p{i}', image(10 * i + shift, channels)[::step, ::step]) for i in range(3)]
            if target.suffix == '.lmdb':
                write_lmdb(str(target), images, 'tiny', progress=False)
            else:
                target.mkdir(parents=True, exist_ok=True)
                for name, img in images:
                    cv2.imwrite(str(target / f'{name}.png'), img)


def reduce_network(block):
    if block['type'] == 'MemNet':
        block.update(num_feat=4, num_block=min(block['num_block'], 2), num_recursion=min(block['num_recursion'], 2))
    elif block['type'] == 'MemoryNet':
        block.update(num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1)
    elif block['type'] == 'MemoryAugmented' and block['backbone']['type'] == 'MemNet':
        reduce_network(block['backbone'])
        block['dry_size'] = 16
    elif block['type'] == 'MemoryAugmented':
        block['memory'].update(num_feat=8, num_class=2)
        block['dry_size'] = 16
        backbone = block['backbone']
        backbone.update(dict(EDSR=dict(num_feat=4), RRDBNet=dict(num_feat=4, num_grow_ch=2),
                             SwinIR=dict(img_size=8, embed_dim=12, depths=[1] * 6, num_heads=[2] * 6)
                             )[backbone['type']])  # yapf: disable
    elif block['type'] == 'ContrastEncoder':
        block.update(num_feat=8, num_down=2)


def run(pipeline, opt, folder, monkeypatch):
    """Write the option file and run one of BasicSR's pipelines on it, below the folder."""
    path = folder / f'{opt["name"]}.yml'
    path.write_text(yaml.safe_dump(opt, sort_keys=False))
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, 'argv', ['run', '-opt', str(path)])
    monkeypatch.setattr(sys, 'excepthook', sys.excepthook)
    logging.getLogger('basicsr').handlers.clear()
    monkeypatch.setattr(basicsr_logger, 'initialized_logger', {})
    pipeline(str(folder))


@pytest.mark.parametrize('path', TRAIN + TEST, ids=lambda p: p.stem)
def test_file_is_in_order(path, tmp_path, monkeypatch):
    opt = load_yaml(str(path))
    assert opt['name'] == path.stem
    assert path.read_text().startswith('# '), 'a header comment tells paper, expected result and hardware'
    order = ['name', 'model_type', 'scale', 'num_gpu', 'manual_seed', 'datasets', 'network_g', 'network_c', 'path',
             'train', 'val', 'logger']  # yapf: disable
    assert list(opt) == [key for key in order if key in opt]
    monkeypatch.chdir(tmp_path)
    make_data(opt, tmp_path)
    assert check_options(opt, is_train='train' in opt) == []


@pytest.mark.parametrize('path', TRAIN, ids=lambda p: p.stem)
def test_trains(path, tmp_path, monkeypatch):
    opt = plain(load_yaml(str(path)))
    total = 20 if path.stem in LONG else 2
    for key, block in opt.items():
        if key.startswith('network_'):
            reduce_network(block)
    opt['path']['pretrain_network_g'] = None  # the network is another one now
    opt['datasets']['train'].update(
        gt_size=32 if opt.get('scale') == 4 else 24,
        batch_size_per_gpu=2,
        num_worker_per_gpu=0,
        dataset_enlarge_ratio=4)
    opt['train'].update(total_iter=total, warmup_iter=-1)
    opt['val'].update(val_freq=total, save_img=True)
    opt['logger'].update(print_freq=1, save_checkpoint_freq=total, use_tb_logger=False)
    make_data(opt, tmp_path)
    run(train_pipeline, opt, tmp_path, monkeypatch)
    folder = tmp_path / 'experiments' / opt['name']
    log = next(folder.glob('train_*.log')).read_text()
    for key, block in opt['datasets'].items():
        if key.startswith('val'):
            assert f'Validation {block["name"]}' in log
    assert f'iter: {total:7,d}' in log and 'nan' not in log.split('Start training')[1].split('Validation')[0]
    assert (folder / 'models' / 'net_g_latest.pth').is_file()
    assert (folder / 'training_states' / f'{total}.state').is_file()


@pytest.mark.parametrize('path', AUGMENTED, ids=lambda p: p.stem)
def test_memory_for_other_networks(path, tmp_path, monkeypatch):
    """It starts as the backbone, bit for bit, and every parameter of the memory is trained."""
    opt = plain(load_yaml(str(path)))
    reduce_network(opt['network_g'])
    opt.update(is_train=True, dist=False, num_gpu=0, rank=0, world_size=1)
    opt['path'].update(models=str(tmp_path), training_states=str(tmp_path), log=str(tmp_path))
    torch.manual_seed(0)
    backbone = build_network(opt['network_g']['backbone']).eval()
    torch.manual_seed(0)
    model = build_model(opt)
    net = model.net_g
    x = torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        assert torch.equal(net.eval()(x), backbone(x))
    net.train()
    assert len(net.insertions) == 3 and [v.level for v in net.insertions.values()] == list(LEVELS)
    model.feed_data(dict(lq=torch.rand(2, 3, 8, 8), gt=torch.rand(2, 3, 32, 32)))
    for i in (1, 2):  # in the first step W_out is zero and lets no gradient through
        model.optimize_parameters(i)
    parameters = [(k, v) for k, v in net.named_parameters() if not k.startswith('backbone.')]
    assert len(parameters) > 10 and [k for k, v in parameters if not v.grad.abs().sum() > 0] == []
    assert sum(len(group['params']) for group in model.optimizer_g.param_groups) == len(list(net.parameters()))
    assert model.optimizer_g.param_groups[1]['lr'] == 10 * model.optimizer_g.param_groups[0]['lr']


@pytest.mark.parametrize('path', TEST, ids=lambda p: p.stem)
def test_tests(path, tmp_path, monkeypatch):
    opt = plain(load_yaml(str(path)))
    reduce_network(opt['network_g'])
    opt['path']['pretrain_network_g'] = None  # the weights are those of a training that was not run
    opt['val']['max_images'] = 1
    make_data(opt, tmp_path)
    run(run_test, opt, tmp_path, monkeypatch)
    images = list((tmp_path / 'results' / opt['name'] / 'visualization').rglob('*.png'))
    assert len(images) == len(opt['datasets']) and all(cv2.imread(str(p)) is not None for p in images)
