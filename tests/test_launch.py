"""Bad input gets one clear line and a non-zero exit, and nothing that was there is touched."""
import cv2
import logging
import numpy as np
import os
import pytest
import re
import shutil
import sys
import threading
import torch
import yaml
from functools import partial
from urllib.error import URLError

from basicsr.archs import build_network
from basicsr.data.prefetch_dataloader import PrefetchGenerator
from basicsr.utils import registry
from memnet_basicsr.data.lmdb_util import write_lmdb
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.description import describe
from memnet_basicsr.inference.weights import write_weights
from memnet_basicsr.plugin import launch
from memnet_basicsr.plugin.strangers import lookup


@pytest.fixture
def refused(pipeline, tmp_path, capsys):
    """Run the pipeline, expect exit code 2 and a line that matches, and that an earlier run of that name stays."""
    earlier = tmp_path / 'experiments' / 'tiny_run'
    earlier.mkdir(parents=True)
    (earlier / 'precious').write_text('yes')

    def call(opt, pattern, *args, test=False):
        before = sorted(v.name for v in tmp_path.iterdir() if v.name != 'options.yml')
        capsys.readouterr()
        with pytest.raises(SystemExit) as error:
            pipeline(opt, *args, test=test)
        message = capsys.readouterr().err.strip()
        assert error.value.code == 2 and re.search(pattern, message), message
        assert sorted(v.name for v in tmp_path.iterdir() if v.name != 'options.yml') == before
        assert not list(tmp_path.glob('experiments/*_archived_*'))
        assert [v.name for v in earlier.iterdir()] == ['precious']
        return message

    return call


def test_one_line_and_exit_status(wheel_environment, options, write_options, images, tmp_path):
    """What the user sees: an unreadable image, met by a worker, named in one line."""
    folder = tmp_path / 'damaged'
    shutil.copytree(images, folder)
    (folder / 'p05.png').write_bytes(b'not an image')
    options['datasets']['train'].update(dataroot_gt=str(folder), num_worker_per_gpu=2, batch_size_per_gpu=4)
    options['train']['total_iter'] = 10
    result = wheel_environment('-m', 'basicsr.train', '-opt', write_options(options), cwd=tmp_path)
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr + result.stdout, result.stderr
    assert [v for v in result.stderr.splitlines() if 'rror' in v
            ] == [f'error: image {folder}/p05.png cannot be read: it is damaged or not an image; replace or remove it']


def test_excepthook(capsys):
    seen = []
    launch._excepthook(lambda *args: seen.append(args), UsageError, UsageError('this; do that'), None)
    assert capsys.readouterr().err == 'error: this; do that\n'
    launch._excepthook(lambda *args: seen.append(args), URLError, URLError('no network'), None)
    assert capsys.readouterr().err == 'error: the run cannot continue: <urlopen error no network>\n'
    assert not seen
    other = (ValueError, ValueError('x'), None)
    launch._excepthook(lambda *args: seen.append(args), *other)
    assert seen == [other]


def test_prefetching_thread_that_dies_ends_the_run(monkeypatch, capsys):
    """`prefetch_mode: cpu`: BasicSR reads in a thread and would wait for it forever."""
    ended, others = [], []
    monkeypatch.setattr(os, '_exit', ended.append)
    monkeypatch.setattr(sys, 'excepthook', partial(launch._excepthook, sys.excepthook))
    monkeypatch.setattr(threading, 'excepthook', partial(launch._thread_excepthook, others.append))

    def fail():
        raise UsageError('image a.png cannot be read')
        yield

    thread = PrefetchGenerator(fail(), 1)
    thread.join()
    assert ended == [1] and others == []
    assert capsys.readouterr().err == 'error: image a.png cannot be read\n'
    other = threading.Thread(target=lambda: 1 / 0)
    other.start()
    other.join()
    assert ended == [1] and others[0].exc_type is ZeroDivisionError


def test_unreadable_image(pipeline, options, images, tmp_path):
    folder = tmp_path / 'damaged'
    shutil.copytree(images, folder)
    (folder / 'p03.png').write_bytes(b'')
    options['datasets']['train'].update(dataroot_gt=str(folder))
    options['train']['total_iter'] = 10
    with pytest.raises(UsageError, match=r'p03\.png cannot be read'):
        pipeline(options)


# ---- the option file ------------------------------------------------------------------------------------------------


def test_file_missing(refused, tmp_path):
    (tmp_path / 'train_tiny.yml').write_text('')
    message = refused(tmp_path / 'train_tny.yml', 'train_tny.yml does not exist')
    assert 'closest match: train_tiny.yml' in message
    refused(tmp_path / 'no_folder' / 'a.yml', 'a.yml does not exist')
    refused(tmp_path, 'does not exist')  # a folder


@pytest.mark.parametrize('text, pattern', [
    (b'', 'holds no options'),
    (b'# only a comment\n', 'holds no options'),
    (b'just words\n', 'holds no options'),
    (b'- a\n- list\n', 'holds no options'),
    (b'name: a\nscale: [1\ntrain: 2\n', ':[234]: invalid YAML'),
    (b'name:\n\t- a\n', ':2: invalid YAML: tab character'),
    (b'\x89PNG\r\n\x1a\n\xff\xfe', 'invalid YAML'),
    (b'name: a\nmodel_type: RestorationModel\n', r':1: num_gpu: is missing'),
])
def test_file_is_not_options(refused, tmp_path, text, pattern):
    path = tmp_path / 'options.yml'
    path.write_bytes(text)
    assert str(path) in refused(path, pattern)
    assert path.read_bytes() == text


@pytest.mark.parametrize('key', ['name', 'model_type', 'num_gpu', 'datasets', 'network_g', 'path', 'train', 'logger'])
def test_block_missing(refused, options, key):
    del options[key]
    refused(options, f'options.yml:1: {key}: is missing')


@pytest.mark.parametrize('key', ['datasets', 'network_g', 'path', 'train', 'logger'])
def test_block_is_no_block(refused, options, key):
    options[key] = 3
    refused(options, rf':\d+: {key}: must be a block of options')


@pytest.mark.parametrize('block, key', [
    ('train', 'total_iter'), ('logger', 'print_freq'), ('logger', 'save_checkpoint_freq'), ('logger', 'use_tb_logger'),
    ('val', 'val_freq'), ('val', 'save_img'), ('datasets: train', 'batch_size_per_gpu'),
    ('datasets: train', 'num_worker_per_gpu')])  # yapf: disable
def test_option_without_default_is_missing(refused, options, block, key):
    """BasicSR reads these without a default: a KeyError, for `val:` at the first validation."""
    options['val'] = dict(val_freq=2, save_img=False)
    place = options['datasets']['train'] if block == 'datasets: train' else options[block]
    place[f'{key}s'] = place.pop(key)
    refused(options, f'{block}: {key}: is missing; closest match: {key}s')


def test_data_set_blocks(refused, options):
    options['datasets']['val'] = None
    refused(options, 'datasets: val: must be a block')
    del options['datasets']['val'], options['datasets']['train']
    refused(options, 'datasets: train: is missing')


# ---- types ----------------------------------------------------------------------------------------------------------


def change(opt, path, value):
    *parents, last = path
    for key in parents:
        opt = opt.setdefault(key, {})
    opt[last] = value


@pytest.mark.parametrize('path, name, near', [
    (['model_type'], 'RestorationModl', 'RestorationModel'),
    (['network_g', 'type'], 'Memnet', 'MemNet'),
    (['network_g', 'type'], 'MemoryNett', 'MemoryNet'),
    (['datasets', 'train', 'type'], 'NoisyImageDatset', 'NoisyImageDataset'),
    (['train', 'pixel_opt', 'type'], 'MultiSupervsedLoss', 'MultiSupervisedLoss'),
    (['train', 'pixel_opt', 'type'], 'l1loss', 'L1Loss'),
    (['val', 'metrics', 'psnr', 'type'], 'calculate_psrn', 'calculate_psnr'),
])
def test_unknown_type(refused, options, path, name, near):
    options['val'] = dict(val_freq=2, save_img=False)
    change(options, path, name)
    message = refused(options, f"'{name}' is not registered")
    assert near in re.split('closest match: ', message)[1].split(', ')
    assert path[-1] in message and 'options.yml' in message


@pytest.mark.parametrize('path', [['network_g', 'type'], ['datasets', 'train', 'type']])
def test_type_missing(refused, options, path):
    change(options, path, None)
    refused(options, 'type: is missing')


def test_types_of_basicsr_with_suffix_are_known():
    """`Registry.get` falls back to name_basicsr, and so does the check."""
    known = registry.Registry('test')
    known.register(type('Merged', (), {'__module__': 'basicsr.archs'}), suffix='basicsr')
    assert lookup(known, 'Merged') is known.get('Merged') and lookup(known, 'Merge') is None


# ---- data -----------------------------------------------------------------------------------------------------------


def validation_set(options, **changes):
    """The training set as a validation set."""
    read_in_training = ('gt_size', 'use_hflip', 'use_rot', 'num_worker_per_gpu', 'batch_size_per_gpu',
                        'dataset_enlarge_ratio')  # yapf: disable
    block = {k: v for k, v in options['datasets']['train'].items() if k not in read_in_training}
    options['val'] = dict(val_freq=2, save_img=False)
    return {**block, 'name': 'val', **changes}


def paired(options, lq, gt):
    """BasicSR's own dataset, network and model."""
    options['datasets']['train'] = dict(
        name='paired', type='PairedImageDataset', dataroot_lq=str(lq), dataroot_gt=str(gt),
        io_backend=dict(type='disk'), gt_size=12, use_hflip=True, use_rot=True, num_worker_per_gpu=0,
        batch_size_per_gpu=4)  # yapf: disable
    options.update(model_type='SRModel')
    options['network_g'] = dict(type='EDSR', num_in_ch=3, num_out_ch=3, num_feat=4, num_block=1, upscale=1)
    options['train'].update(pixel_opt=dict(type='PSNRLoss'))  # ours: else nothing is checked (test_strangers.py)
    options['train']['optim_g']['betas'] = [0.9, 0.99]


@pytest.mark.parametrize('phase', ['train', 'val'])
@pytest.mark.parametrize('stock', [False, True], ids=['ours', 'stock'])
def test_data_root(refused, options, images, tmp_path, phase, stock):
    if stock:
        paired(options, images, images)
    options['datasets']['val'] = validation_set(options)
    block = options['datasets'][phase]
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'x.lmdb').mkdir()
    (tmp_path / 'file').write_text('')
    for root, pattern in (('nowhere', 'does not exist'), ('empty', 'is empty'), ('x.lmdb', 'meta_info.txt'),
                          ('file', 'is not a folder')):  # yapf: disable
        for key in ('dataroot_gt', 'dataroot_lq')[:1 + stock]:
            before = block[key]
            block[key] = str(tmp_path / root)
            message = refused(options, pattern)
            assert f'datasets: {phase}: {key}' in message and str(tmp_path / root) in message
            block[key] = before


def test_lmdb_that_is_not_complete(refused, options, tmp_path):
    root = tmp_path / 'a.lmdb'
    write_lmdb(str(root), [(f'p{i}', np.zeros((24, 24), np.uint8)) for i in range(4)], progress=False)
    options['datasets']['train'].update(dataroot_gt=str(root), io_backend=dict(type='lmdb'))
    (root / 'data.mdb').rename(tmp_path / 'data.mdb')
    refused(options, 'data.mdb')
    (tmp_path / 'data.mdb').rename(root / 'data.mdb')
    (root / 'meta_info.txt').write_text('')
    refused(options, 'is empty')
    (root / 'meta_info.txt').unlink()
    refused(options, 'meta_info.txt')


def test_folder_without_images(refused, options, images, tmp_path):
    folder = tmp_path / 'texts'
    folder.mkdir()
    (folder / 'a.txt').write_text('a')
    options['datasets']['val'] = validation_set(options, dataroot_gt=str(folder))
    refused(options, 'holds no images')
    options['datasets']['val']['dataroot_gt'] = str(images)
    options['datasets']['train']['dataroot_gt'] = str(folder)
    refused(options, 'holds no images')


def test_faults_of_a_data_set_are_found_before_anything_is_written(refused, options, images):
    options['datasets']['train']['sigma'] = -1
    refused(options, 'sigma')
    options['datasets']['train']['sigma'] = 50
    options['datasets']['val'] = validation_set(options, sigma=[30, 50])
    refused(options, 'one level')


def test_results_of_validation_images(refused, options, images, tmp_path):
    """Metrics that crop the whole image, and images whose results would overwrite each other."""
    options['datasets']['val'] = validation_set(options)
    options['val']['metrics'] = {'psnr': {'type': 'calculate_psnr', 'crop_border': 12}}
    refused(options,
            r'datasets: val: metrics: psnr: crop_border: 12 leaves nothing of image .*p00\.png, 24 x 24 pixels')
    folder = tmp_path / 'images'
    shutil.copytree(images, folder)
    shutil.copy(folder / 'p03.png', folder / 'p03.bmp')
    options['datasets']['val']['dataroot_gt'] = str(folder)
    options['val']['metrics']['psnr']['crop_border'] = 11
    refused(options, r'datasets: val: .*p03\.bmp and .*p03\.png have the same name')


@pytest.mark.parametrize('stock', [False, True], ids=['ours', 'stock'])
def test_too_small_for_one_batch(refused, pipeline, options, images, tmp_path, stock):
    """11 images, batch 16: BasicSR would end at once and normally, with an untrained network."""
    if stock:
        paired(options, images, images)
    options['datasets']['train']['batch_size_per_gpu'] = 16
    message = refused(options, 'too few for one batch of 16')
    assert '11 image' in message and 'dataset_enlarge_ratio to 2' in message


def test_short_epochs_with_workers(pipeline, options, images, tmp_path):
    """BasicSR starts its workers anew every epoch; those of our datasets stay."""
    logs = tmp_path / 'experiments' / 'tiny_run'
    options['datasets']['train'].update(num_worker_per_gpu=1)
    options['train']['total_iter'] = 13
    pipeline(options)
    assert 'persistent_workers' not in next(logs.glob('*.log')).read_text()
    reset_logger()
    paired(options, images, images)
    options['name'] = 'stock'
    options['datasets']['train'].update(num_worker_per_gpu=1, dataset_enlarge_ratio=10)
    options['train']['total_iter'] = 40
    pipeline(options)
    log = next((logs.parent / 'stock').glob('*.log')).read_text()
    # 110 samples in batches of 4
    assert 'an epoch has only 28 iterations' in log
    assert 'persistent_workers: true, or dataset_enlarge_ratio to 80' in log


def test_too_small_for_the_epochs(refused, pipeline, options, images, tmp_path):
    """11 images, batch 4: with stock classes BasicSR would end at iteration 30 of 40. The remedy helps."""
    paired(options, images, images)
    options['train']['total_iter'] = 40
    message = refused(options, 'iteration 30 of 40')
    ratio = int(re.search(r'dataset_enlarge_ratio to (\d+)', message)[1])
    options['datasets']['train']['dataset_enlarge_ratio'] = ratio
    options['name'] = 'enlarged'
    pipeline(options)
    log, = (tmp_path / 'experiments' / 'enlarged').glob('*.log')
    assert 'iter:      40' in log.read_text()


def test_stock_ends_early(tmp_path, monkeypatch, options, images, write_options, pipeline):
    """Row 21 without the check: the same run ends at iteration 30, saves, and tells success."""
    monkeypatch.setattr(launch, '_check_length', lambda *args: None)
    paired(options, images, images)
    options['train']['total_iter'] = 40
    pipeline(options)
    log, = (tmp_path / 'experiments' / 'tiny_run').glob('*.log')
    text = log.read_text()
    assert 'iter:      30' in text and 'iter:      31' not in text and 'End of training' in text


def test_ours_does_all_iterations(tmp_path, options, pipeline):
    options['datasets']['train']['batch_size_per_gpu'] = 4
    options['train']['total_iter'] = 40
    options['logger']['save_checkpoint_freq'] = 40
    pipeline(options)
    log, = (tmp_path / 'experiments' / 'tiny_run').glob('*.log')
    text = log.read_text()
    assert 'iter:      40' in text and 'iter:      41' not in text
    assert (tmp_path / 'experiments' / 'tiny_run' / 'training_states' / '40.state').is_file()


def test_colour_is_converted_and_said_once(tmp_path, options, pipeline):
    folder = tmp_path / 'color'
    folder.mkdir()
    for i in range(3):
        cv2.imwrite(str(folder / f'{i}.png'), np.random.RandomState(i).randint(0, 256, (24, 24, 3), dtype=np.uint8))
    options['datasets']['train']['dataroot_gt'] = str(folder)
    pipeline(options)
    log, = (tmp_path / 'experiments' / 'tiny_run').glob('*.log')
    lines = [line for line in log.read_text().splitlines() if 'are converted' in line]
    assert len(lines) == 1
    assert str(folder) in lines[0] and 'gray' in lines[0]


# ---- the command line -----------------------------------------------------------------------------------------------


def test_command_line_overrides_come_before_the_check(refused, pipeline, options, images, tmp_path):
    """A data root of another machine may stand in the file when --force_yml gives the one of this machine."""
    options['datasets']['train']['dataroot_gt'] = '/of/another/machine'
    refused(options, 'does not exist')
    options['name'] = 'forced'
    pipeline(options, '--force_yml', f'datasets:train:dataroot_gt={images}')
    assert (tmp_path / 'experiments' / 'forced' / 'models' / 'net_g_latest.pth').is_file()
    options['name'] = 'tiny_run'
    options['datasets']['train']['dataroot_gt'] = str(images)
    refused(options, "'Memnet' is not registered", '--force_yml', 'network_g:type=Memnet')


def test_resume_state_missing(refused, options, tmp_path):
    options['path']['resume_state'] = str(tmp_path / '7.state')
    refused(options, '7.state does not exist')


def test_damaged_states_are_skipped_and_the_log_is_written(pipeline, options, tmp_path):
    """--auto_resume passes over a damaged state and says so; the run still has its log file."""
    options['logger']['save_checkpoint_freq'] = 1
    pipeline(options)
    run = tmp_path / 'experiments' / 'tiny_run'
    next(run.glob('*.log')).unlink()
    (run / 'training_states' / '2.state').write_bytes(b'damaged')
    reset_logger()
    pipeline(options, '--auto_resume')
    log, = run.glob('*.log')
    text = log.read_text()
    assert 'Resuming training from epoch: 0, iter: 1' in text
    assert re.search(r'Warning: checkpoint .*2\.state .*; trying an older training state', text)


def test_stock_model_executes_nothing(pipeline, options, images, tmp_path, monkeypatch):
    """SRModel reads `pretrain_network_g` itself, and torch can be told to execute what it loads."""

    class Code:

        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'executed'), )

    paired(options, images, images)
    options['path']['pretrain_network_g'] = str(tmp_path / 'net.pth')
    for content, reason in (({'params': Code()}, 'cannot be loaded safely'), ([1], 'holds a list'),
                            ({}, 'has no params'), ({'params': 1}, 'has no params'),
                            ({'params': {}}, 'params is not a state dict'),
                            ({'params': {'a': torch.ones(1)}}, 'does not fit EDSR'),
                            ({'params': {'a': torch.tensor(float('nan'))}}, 'a holds NaN')):  # yapf: disable
        torch.save(content, tmp_path / 'net.pth')
        monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
        with pytest.raises(UsageError, match=rf'net\.pth:? {reason}'):
            pipeline(options)
        assert not (tmp_path / 'executed').exists()
        log, = (tmp_path / 'experiments' / 'tiny_run').glob('*.log')
        assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD is ignored' in log.read_text()
        reset_logger()
        shutil.rmtree(tmp_path / 'experiments')


def reset_logger():
    from basicsr.utils import logger
    logger.initialized_logger.clear()
    for handler in logging.getLogger('basicsr').handlers[:]:
        logging.getLogger('basicsr').removeHandler(handler)
        handler.close()


def test_test_pipeline(refused, pipeline, options, images, tmp_path):
    """test.py is checked in the same way; earlier results stay."""
    results = tmp_path / 'results' / 'tiny_run'
    results.mkdir(parents=True)
    (results / 'precious').write_text('yes')
    test_set = dict(name='a', type='NoisyImageDataset', dataroot_gt=str(images), io_backend=dict(type='disk'), sigma=5)
    opt = {key: options[key] for key in ('name', 'model_type', 'scale', 'num_gpu', 'network_g')}
    opt.update(path={}, datasets=dict(test_1=test_set), val=dict(save_img=False, metrics=dict(psnr=dict(type='psnr'))))
    refused(opt, "'psnr' is not registered", test=True)
    opt['val']['metrics']['psnr'] = dict(type='calculate_psnr', crop_border=0)
    test_set['sigma'] = [5, 7]
    refused(opt, 'one level', test=True)
    test_set['dataroot_gt'] = 'nowhere'
    refused(opt, 'nowhere does not exist', test=True)
    stock_val = opt.pop('val')
    refused(opt, ': val: is missing', test=True)
    assert [v.name for v in results.iterdir()] == ['precious']
    # SRModel reads `suffix` without a default
    test_set.update(dataroot_gt=str(images), sigma=5)
    opt.update(model_type='SRModel', val={**stock_val, 'save_img': True})
    pipeline(opt, test=True)
    assert len(list((results / 'visualization' / 'a').glob('*_tiny_run.png'))) == len(os.listdir(images))


# ---- where runs go --------------------------------------------------------------------------------------------------


def test_run_root(tmp_path, monkeypatch):
    from memnet_basicsr.plugin.compat import run_root
    monkeypatch.chdir(tmp_path)
    installed = tmp_path / 'env' / 'lib' / 'site-packages'
    installed.mkdir(parents=True)
    assert run_root(str(installed)) == str(installed)  # not on the path: not where anything is installed
    monkeypatch.setattr(sys, 'path', [*sys.path, str(installed)])
    assert run_root(str(installed)) == os.getcwd()
    link = tmp_path / 'link'
    link.symlink_to(installed)
    assert run_root(str(link)) == os.getcwd()
    checkout = tmp_path / 'BasicSR'
    assert run_root(str(checkout)) == str(checkout)


def test_pretrained_by_packaged_name(refused, pipeline, options, tmp_path, monkeypatch):
    """``pretrain_network_g`` takes what ``memnet-restore --weights`` takes; the run starts from those values."""
    weights = tmp_path / 'weights'
    weights.mkdir()
    torch.manual_seed(1)
    net = build_network(options['network_g'])
    net.recon_conv.bias.data.fill_(7.)
    description = describe(options, 'denoise')
    write_weights(str(weights / 'memnet_tiny.pth'), net.state_dict(), description)
    monkeypatch.setattr('memnet_basicsr.inference.weights.PACKAGED', str(weights))
    options['path']['pretrain_network_g'] = 'memnet_tyni'
    assert 'closest match: memnet_tiny' in refused(options, 'pretrain_network_g: weights memnet_tyni: neither a file')
    options['path']['pretrain_network_g'] = 'memnet_tiny'
    options['train']['pixel_opt']['loss_weight'] = 0.
    pipeline(options)
    trained = torch.load(tmp_path / 'experiments/tiny_run/models/net_g_latest.pth', weights_only=True)['params']
    assert trained['recon_conv.bias'].item() == 7.
    assert torch.equal(trained['recon_conv.weight'], net.recon_conv.weight)


# what the released option files of two other restorers have in `train:` (values as published, fewer iterations)
TRAIN_BLOCKS = {
    'NAFNet':
    dict(optim_g=dict(type='AdamW', lr=1e-3, weight_decay=1e-3, betas=[0.9, 0.9]),
         scheduler=dict(type='TrueCosineAnnealingLR', T_max=4, eta_min=1e-7),
         total_iter=4, warmup_iter=-1, mixup=False, use_grad_clip=True,
         pixel_opt=dict(type='PSNRLoss', loss_weight=1, reduction='mean')),
    'Restormer':
    dict(total_iter=4, warmup_iter=-1, use_grad_clip=True,
         scheduler=dict(type='CosineAnnealingRestartCyclicLR', periods=[2, 2], restart_weights=[1, 1],
                        eta_mins=[0.0003, 0.000001]),
         mixing_augs=dict(mixup=True, mixup_beta=1.2, use_identity=True),
         optim_g=dict(type='AdamW', lr=3e-4, weight_decay=1e-4, betas=[0.9, 0.999]),
         pixel_opt=dict(type='L1Loss', loss_weight=1, reduction='mean')),
}  # yapf: disable


@pytest.mark.parametrize('name', TRAIN_BLOCKS)
def test_train_blocks_of_other_toolboxes_run_as_they_are(pipeline, options, tmp_path, name):
    options['network_g'].update(supervise='final')
    options['train'] = TRAIN_BLOCKS[name]
    path = tmp_path / 'options.yml'
    path.write_text(yaml.safe_dump(options))
    pipeline(path)
    log = next((tmp_path / 'experiments' / 'tiny_run').glob('train_*.log')).read_text()
    rates = [float(v) for v in re.findall(r'lr:\(([^,]+),\)', log)]
    start, end = {'NAFNet': (1e-3, 1e-7), 'Restormer': (3e-4, 1e-6)}[name]
    assert len(rates) == 4 and rates[0] == start and end <= rates[-1] < start
