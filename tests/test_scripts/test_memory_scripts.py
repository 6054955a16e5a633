"""Scripts that analyze a memory, and the cost table, on tiny networks."""
import csv
import cv2
import importlib.util
import json
import numpy as np
import pytest
import re
import torch
from pathlib import Path

from basicsr.utils.registry import ARCH_REGISTRY
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.description import describe
from memnet_basicsr.inference.weights import write_weights

ROOT = Path(__file__).resolve().parents[2]
MEMORYNET = dict(type='MemoryNet', num_feat=4, scale_unetfeats=2, scale_orsnetfeats=2, num_cab=1)
EDSR = dict(type='EDSR', num_in_ch=3, num_out_ch=3, num_feat=4, num_block=1, upscale=2)
NETWORKS = dict(
    feature=dict(MEMORYNET, memory='feature', memory_opt=dict(num_feat=4, num_class=2)),
    released=dict(MEMORYNET, memory='released'),
    none=dict(MEMORYNET, memory='none'),
    edsr=dict(type='MemoryAugmented', backbone=EDSR, insert_after='body.*', memory=dict(num_feat=4, num_class=2)),
    gray=dict(type='MemoryAugmented', backbone=dict(type='MemNet', num_feat=4, num_block=1, num_recursion=1),
              insert_after='fenet', memory=dict(num_feat=4, num_class=2)))  # yapf: disable


def script(name):
    """Run the main function of a script in this process."""
    spec = importlib.util.spec_from_file_location(name, ROOT / 'scripts' / 'analysis' / f'{name}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *args: module.main([str(v) for v in args])


def build(opt):
    torch.manual_seed(0)
    return ARCH_REGISTRY.get(opt['type'])(**{k: v for k, v in opt.items() if k != 'type'})


@pytest.fixture
def trained(tmp_path):
    """Write checkpoint and option file of a network; returns the arguments of a script."""

    def write(name):
        opt = dict(name=name, network_g=NETWORKS[name])
        torch.save({'params': build(NETWORKS[name]).state_dict()}, tmp_path / f'net_g_{name}.pth')
        (tmp_path / f'{name}.yml').write_text(json.dumps(opt))
        return ['--weights', tmp_path / f'net_g_{name}.pth', '--opt', tmp_path / f'{name}.yml', '--device', 'cpu']

    return write


@pytest.fixture
def folders(tmp_path):
    """A folder that holds degraded images."""
    (tmp_path / 'lq').mkdir()
    for i in range(2):
        img = np.random.RandomState(i).randint(0, 256, (6, 8, 3), dtype=np.uint8)
        img = cv2.resize(img, (40, 36), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(tmp_path / 'lq' / f'{i}.png'), img // 2 + 100)
    return tmp_path


def check_png(path, width):
    img = cv2.imread(str(path))
    assert img.shape[1] == width and img.std() > 10


@pytest.mark.parametrize('name, levels', [('feature', ('part', 'instance', 'semantic')),
                                          ('released', ('part', 'instance', 'semantic')), ('edsr', ('part', )),
                                          ('gray', ('part', ))])
def test_prototypes(trained, folders, capsys, name, levels):
    output = folders / 'out' / 'figure.png'
    script('prototypes')(*trained(name), '--images', folders / 'lq', '--output', output, '--patch-size', 8)
    assert sorted(v.name for v in output.parent.iterdir()) == sorted(f'figure_{v}.png' for v in levels)
    for level in levels:
        check_png(output.parent / f'figure_{level}.png', 1600)
    lines = capsys.readouterr().out.splitlines()
    assert [v.split()[0] for v in lines[:len(levels)]] == list(levels)
    assert all(re.search(r'entropy 0\.\d+|entropy 1\.000', v) for v in lines[:len(levels)])


@pytest.mark.parametrize('name, rows', [('feature', 6), ('released', 3), ('edsr', 1)])
def test_addressing_maps(trained, folders, capsys, name, rows):
    output = folders / 'maps.png'
    script('addressing_maps')(*trained(name), '--image', folders / 'lq' / '1.png', '--output', output)
    check_png(output, 1400)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == rows + 1 and all('information' in v for v in lines[:-1])


def test_weights_with_a_description_and_an_image_of_a_folder(folders):
    path = folders / 'weights.pth'
    net = build(NETWORKS['feature'])
    write_weights(str(path), net.state_dict(), describe({'network_g': NETWORKS['feature']}, 'restore'))
    for top in (0, 4):  # more maps than prototypes of the semantic level
        script('addressing_maps')('--weights', path, '--image', folders / 'lq', '--index', 1, '--top', top,
                                  '--output', folders / 'maps.png', '--device', 'cpu')  # yapf: disable
        check_png(folders / 'maps.png', 1400)


def test_cost_table(tmp_path, capsys):
    for name in ('none', 'released', 'edsr'):
        (tmp_path / f'{name}.yml').write_text(json.dumps(dict(name=name, network_g=NETWORKS[name])))
    (tmp_path / 'again.yml').write_text(json.dumps(dict(name='again', network_g=NETWORKS['none'])))
    (tmp_path / 'list.yml').write_text(json.dumps(dict(variants=[1])))
    script('cost_table')(*sorted(tmp_path.glob('*.yml')), '--size', 16, 24, '--csv', tmp_path / 'cost.csv')
    captured = capsys.readouterr()
    cells = [[v.strip() for v in line.split('|')[1:-1]] for line in captured.out.splitlines()]
    assert [v[:2] for v in cells[2:]] == [['again and 1 more', 'MemoryNet'], ['edsr', 'MemoryAugmented'],
                                          ['released', 'MemoryNet']]  # yapf: disable
    assert 'skipped, no network_g: list' in captured.err
    rows = {v['option files']: v for v in csv.DictReader((tmp_path / 'cost.csv').open())}
    count = sum(v.numel() for v in build(NETWORKS['edsr']).parameters())
    assert int(rows['edsr']['parameters']) == count and cells[3][2] == f'{count:,}'
    assert [float(v[3]) for v in cells[2:]] == [round(int(v['MACs']) / 1e9, 3) for v in rows.values()]


@pytest.mark.parametrize('name, args, words', [
    ('prototypes', ['{none}', '--images', '{lq}'], 'has no memory'),
    ('prototypes', ['{feature}', '--images', 'nowhere'], 'nowhere does not exist'),
    ('prototypes', ['{feature}', '--images', '{lq}', '--patches', '0'], 'must be positive'),
    ('prototypes', ['{feature}', '--images', '{lq}', '--output', 'a.pdf'], 'PNG'),
    ('addressing_maps', ['{none}', '--image', '{lq}'], 'has no memory'),
    ('addressing_maps', ['{feature}', '--image', '{lq}', '--index', '2'], '--index 2 must be in 0..1'),
])  # yapf: disable
def test_errors_are_one_line(trained, folders, name, args, words):
    known = {'{lq}': [folders / 'lq']}
    args = [w for v in args for w in (known.get(v) or (trained(v[1:-1]) if v.startswith('{') else [v]))]
    output = [] if '--output' in args else ['--output', folders / 'figure.png']
    with pytest.raises(UsageError, match=re.escape(words)) as error:
        script(name)(*args, *output)
    assert '\n' not in str(error.value) and not list(folders.glob('*.png'))


def test_cost_table_without_networks(tmp_path):
    (tmp_path / 'list.yml').write_text('variants: []')
    with pytest.raises(UsageError, match='none of the option files has a network_g'):
        script('cost_table')(tmp_path / 'list.yml')
