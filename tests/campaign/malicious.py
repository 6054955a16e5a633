"""Files of strangers: nothing in them is executed, nothing hangs, and a line says why they are refused."""
import io
import json
import os
import pickle
import struct
import tarfile
import torch
import yaml
import zlib
from functools import partial
from PIL import Image

from memnet_basicsr.inference.bundled import KEY
from tests.campaign.faults import CANARY, NETWORK, ROOT, TEST
from tests.test_engine.tiny_runs import options, write_options
from tests.test_plugin.wrong_files import BOMB

PACKAGE_WEIGHTS = os.path.join(ROOT, 'scripts', 'package_weights.py')
ABLATION = os.path.join(ROOT, 'scripts', 'ablation.py')
TAG = f'!!python/object/apply:os.system ["touch {CANARY}"]'
PAIRS = dict(
    name='a', type='PairedImageDataset', dataroot_gt='pics/train', dataroot_lq='pics/train',
    io_backend={'type': 'disk'}, gt_size=12, use_hflip=True, use_rot=True, num_worker_per_gpu=0, batch_size_per_gpu=4,
    dataset_enlarge_ratio=2)  # yapf: disable
STOCK = dict(
    model_type='SRModel', datasets__train=PAIRS,
    network_g={'type': 'TinyNetForTests'}, train__pixel_opt={'type': 'L1Loss'},
    train__scheduler={'type': 'MultiStepLR', 'milestones': [8], 'gamma': 0.5}, datasets__val_1=None,
    datasets__val_2=None, val=None)  # yapf: disable


class Executed:
    """Runs a command when it is unpickled."""

    def __reduce__(self):
        return os.system, (f'touch {CANARY}', )


def zip_pickle(content):
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def legacy_pickle(content):
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def tar_pickle(content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w') as archive:
        for name in ('storages', 'tensors', 'pickle'):
            data = pickle.dumps(content)
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


CONTENT = {'params': {'a': Executed()}, KEY: {'network_g': NETWORK, 'task': 'denoise'}}
PICKLES = {'zip': zip_pickle, 'legacy': legacy_pickle, 'tar': tar_pickle, 'bare': pickle.dumps}

# network_g of a weights file, and words of the line
NETWORKS = {
    'a network that opens files': ({'type': 'SpyNet', 'load_path': 'x.pth'}, "of BasicSR's networks"),
    'a path': ({**NETWORK, 'load_path': 'x.pth'}, 'a weights file may not name other files'),
    'an unknown network': ({'type': 'os.system'}, 'is not registered'),
    'a class of torch': ({'type': 'Linear'}, 'is not registered'),
    'a huge network': ({**NETWORK, 'num_feat': 1024, 'num_block': 1024}, 'much larger'),
    'a huge image': ({'type': 'SwinIR', 'img_size': 1024, 'window_size': 8}, 'much larger'),
    'a huge number': ({**NETWORK, 'num_feat': 10**12}, 'not within'),
    'endless digits': ({**NETWORK, 'num_feat': 1e308}, 'not within'),
    'a negative number': ({**NETWORK, 'num_feat': -4}, 'MemNet'),
    'text': ({**NETWORK, 'num_feat': 'x' * 101}, 'more than 100 characters'),
    'long text': ({**NETWORK, 'num_feat': 'x' * 10**6}, 'more than 10000 characters'),
    'a long list': ({**NETWORK, 'num_feat': [1] * 10**5}, 'more than 500 values'),
    'a deep list': ({**NETWORK, 'num_feat': json.loads('[' * 100 + ']' * 100)}, '6 levels'),
    'a list': (['MemNet'], 'is not usable'),
    'no type': ({}, 'needs network_g'),
}  # yapf: disable

YAMLS = {
    'tag': f'name: {TAG}\n',
    'tag as a key': f'? {TAG}\n: 1\nname: a\n',
    'tag in a key': f'? [a, {TAG}]\n: 1\nname: a\n',
    'tag in a merge': f'name: a\n<<: {TAG}\n',
    'tag in a set': f'name: !!set {{? {TAG} : ~}}\n',
    'tag as the file': f'!!python/object/apply:os.system\nargs: ["touch {CANARY}"]\nname: a\n',
    'tag given twice': f'name: a\nname: {TAG}\n',
    'tag by directive': f'%TAG !p! tag:yaml.org,2002:python/\n---\nname: !p!object/apply:os.system [touch {CANARY}]\n',
    'tag in full': f'name: !<tag:yaml.org,2002:python/object/apply:os.system> ["touch {CANARY}"]\n',
    'tag in a second document': f'name: a\n---\nname: {TAG}\n',
    'new': f'name: !!python/object/new:os.system ["touch {CANARY}"]\n',
    'module': 'name: !!python/module:antigravity x\n',
    'name': 'name: !!python/name:os.system x\n',
    'bomb': BOMB,
    'deep': 'name: ' + '[' * 200_000,
    'endless digits': f'name: 0x{"f" * 500_000}\n',
}


def faults(campaign):
    step = 1 if campaign.is_long else 5
    for name, make in list(PICKLES.items())[::step]:
        for use in ('memnet-restore', 'pretrain_network_g', 'resume_state', 'test.py', 'SRModel'):
            yield f'pickle ({name}) for {use}', partial(pickled, make(CONTENT), use)
    for name, (network, words) in list(NETWORKS.items())[::step]:
        yield f'weights that name {name}', partial(described, network, words)
    for name, text in list(YAMLS.items())[::step]:
        for use in ('train.py', 'BasicSR', 'ablation', 'package_weights'):
            yield f'YAML ({name}) for {use}', partial(yamled, name, text, use)
    for name in ('EPS', 'pixels', 'text', 'frames')[::step]:
        yield f'image ({name})', partial(image, name)


def pickled(content, use, campaign, folder):
    (folder / 'x.pth').write_bytes(content)
    if use == 'memnet-restore':
        campaign.restore(folder, '-i', 'pics/val', '-o', 'out', weights='x.pth').refused('x.pth', 'safely')
    elif use in ('pretrain_network_g', 'resume_state'):
        write_options(folder, options(**{f'path__{use}': 'x.pth'}))
        campaign.run(folder).refused('x.pth', 'safely')
    elif use == 'test.py':
        write_options(folder, options(path__pretrain_network_g='x.pth', datasets__train=None, train=None, logger=None))
        campaign.run(folder, script=TEST).refused('x.pth', 'safely')
    else:  # BasicSR loads the file: a traceback is its own
        write_options(folder, options(path__pretrain_network_g='x.pth', **STOCK))
        result = campaign.run(folder)
        assert result.code in (1, 2), result.log[-400:]
        result.check_files()


def described(network, words, campaign, folder):
    content = torch.load(campaign.weights, weights_only=True)
    torch.save({**content, KEY: {'network_g': network, 'task': 'denoise'}}, folder / 'x.pth')
    campaign.restore(folder, '-i', 'pics/val', '-o', 'out', weights='x.pth', timeout=20).refused('x.pth', words)


def yamled(name, text, use, campaign, folder):
    """In an option file of the package, one that uses BasicSR only, a plan, or the file for a weights file."""
    if use in ('train.py', 'BasicSR') and 'name: ' in text:
        text += yaml.safe_dump({k: v for k, v in options(**(STOCK if use == 'BasicSR' else {})).items() if k != 'name'})
    (folder / 'x.yml').write_text(text)
    if use == 'ablation':
        args, more = ('x.yml', '--output', 'out', '--baseline', 'a'), {'script': ABLATION}
    elif use == 'package_weights':
        args, more = ('--checkpoint', campaign.weights, '--opt', 'x.yml', '--task', 'denoise', '--output',
                      'y.pth'), {'script': PACKAGE_WEIGHTS}  # yapf: disable
    else:
        args, more = ('-opt', 'x.yml'), {}
    result = campaign.run(folder, *args, timeout=20, **more)
    if use == 'BasicSR' and 'digits' in name:  # read by BasicSR alone: a traceback is its own
        assert result.code == 1, result.log[-400:]
        result.check_files()
    else:
        result.refused('' if use == 'package_weights' else 'x.yml')


def image(name, campaign, folder):
    (folder / 'in').mkdir()
    path, words = folder / 'in' / 'x.png', 'x.png: '
    small = Image.new('L', (20, 20))
    if name == 'EPS':  # Pillow would start Ghostscript
        small.save(path, format='EPS')
        words += 'is not a supported image'
    elif name == 'pixels':
        small.save(path)
        content = bytearray(path.read_bytes())
        content[16:24] = struct.pack('>II', 60000, 60000)
        content[29:33] = struct.pack('>I', zlib.crc32(content[12:29]))
        path.write_bytes(content)
        words += 'has 3600 megapixels'
    elif name == 'text':
        small.save(path)
        content, packed = path.read_bytes(), b'a\0\0' + zlib.compress(bytes(10**9 // 4))
        chunk = struct.pack('>I', len(packed)) + b'zTXt' + packed + struct.pack('>I', zlib.crc32(b'zTXt' + packed))
        path.write_bytes(content[:33] + chunk + content[33:])
        words += 'cannot be decoded'
    else:
        small.save(
            path, format='GIF', save_all=True, append_images=[Image.new('L', (20, 20), 4 * v) for v in range(1, 51)])
        words += 'has 51 frames'
    campaign.restore(folder, '-i', 'in', '-o', 'out', timeout=30).refused(words)
