import cv2
import json
import numpy as np
import pytest
import runpy
import torch
from pathlib import Path
from torch import nn

from basicsr.utils.registry import ARCH_REGISTRY
from memnet_basicsr.analysis.memory.slots import exchanged_psnr, slot_shares, slot_table, told_bits
from memnet_basicsr.archs.memory_designs import DegradationMemory, TopKAddressing
from memnet_basicsr.errors import UsageError


class Sorter(nn.Module):
    """Dark images address slot 0, bright ones slot 2."""

    def __init__(self):
        super().__init__()
        self.addressing = TopKAddressing(3, top_k=1)

    def forward(self, x):
        bright = (x.mean() > .5).float()
        self.addressing(torch.stack([1 - bright, bright * 0, bright])[None], torch.eye(3))
        return x


class Painter(nn.Module):
    """Images of 0.2, 0.5 and 0.8 address slot 0, 1 and 2, with two rows each; the result is the value of the slot."""

    def __init__(self):
        super().__init__()
        self.memory = DegradationMemory(num_feat=3, num_slot=3, top_k=1)
        with torch.no_grad():
            self.memory.keys.copy_(torch.eye(3))
            self.memory.values.copy_(torch.tensor([.3, .6, .7])[:, None].expand(3, 3))

    def forward(self, x):
        query = torch.eye(3)[((x.mean((1, 2, 3)) - .2) / .3).round().long()]
        read = self.memory.read(query.repeat_interleave(2, 0)).view(len(x), 2, 3).mean(1)
        return torch.zeros_like(x) + read[:, :1, None, None]


def dataset(folder, values):
    folder.mkdir()
    for i, value in enumerate(values):
        cv2.imwrite(str(folder / f'{i}.png'), np.full((8, 8, 3), value, np.uint8))
    return dict(name=folder.name, type='SingleImageDataset', dataroot_lq=str(folder), io_backend=dict(type='disk'))


def test_shares_of_images_whose_slots_are_known(tmp_path):
    sets = [dataset(tmp_path / 'dark', [10, 20]), dataset(tmp_path / 'half', [10, 250, 250, 250])]
    shares = slot_shares(Sorter().eval(), sets)['addressing']
    np.testing.assert_allclose(shares, [[1, 0, 0], [.25, 0, .75]], atol=1e-12)
    np.testing.assert_allclose(slot_shares(Sorter().eval(), sets, max_images=1)['addressing'], [[1, 0, 0]] * 2)
    assert '| half | 25 | 0 | 75 |' in ' '.join(slot_table(['dark', 'half'], shares).split())


def test_bits_of_known_distributions():
    assert told_bits(np.eye(4)) == pytest.approx(2)
    assert told_bits(np.full((3, 5), .2)) == pytest.approx(0)
    # a channel that errs in a quarter of the cases: 1 - H(1/4)
    assert told_bits(np.array([[.75, .25], [.25, .75]])) == pytest.approx(0.1887, abs=1e-4)


def test_network_without_slots():
    for analysis in (slot_shares, exchanged_psnr):
        with pytest.raises(UsageError, match='has no memory of type'):
            analysis(nn.Conv2d(3, 3, 1), [])


def test_psnr_with_the_read_of_another_image(tmp_path):
    sets = []
    for name, value in (('dark', 51), ('half', 127.5), ('bright', 204)):
        single = dataset(tmp_path / name, [round(value)] * 2)
        sets.append(dict(single, type='PairedImageDataset', dataroot_gt=single['dataroot_lq']))
    error = np.array([[51], [128], [204]]) / 255 - np.array([[.3, .6, .7]])  # image minus value of the slot read
    for max_images in (None, 1):
        found = exchanged_psnr(Painter().eval(), sets, max_images)
        np.testing.assert_allclose(found, -20 * np.log10(abs(error)), atol=1e-4)


def test_script_with_the_designs_of_the_package(tmp_path, capsys):
    path = Path(__file__).resolve().parents[3] / 'scripts' / 'analysis' / 'slots.py'
    script = runpy.run_path(str(path))['main']
    dataset(tmp_path / 'clean', [100])
    sets = [dict(name=v, type='MixedImageDataset', dataroot_gt=str(tmp_path / 'clean'), io_backend=dict(type='disk'),
                 color='gray', kinds=v) for v in ('noise', 'jpeg')]  # yapf: disable
    for kind, where in (('degradation', 'memory'), ('centers', 'memory')):
        opt = dict(type='MemoryAugmented', insert_after='fenet', memory=dict(type=kind, num_feat=4, num_slot=3),
                   backbone=dict(type='MemNet', num_in_ch=1, num_feat=4, num_block=1, num_recursion=1))  # yapf: disable
        net = ARCH_REGISTRY.get('MemoryAugmented')(**{k: v for k, v in opt.items() if k != 'type'})
        torch.save({'params': net.state_dict()}, tmp_path / 'net.pth')
        (tmp_path / 'opt.yml').write_text(json.dumps(dict(network_g=opt, datasets=dict(val_1=sets[0], val_2=sets[1]))))
        more = ['--exchange'] if kind == 'degradation' else []
        script(['--weights', str(tmp_path / 'net.pth'), '--opt', str(tmp_path / 'opt.yml'), *more])
        text = capsys.readouterr().out
        assert f'{where}.addressing: mutual information of slot and dataset' in text and 'of 1.00 bits' in text
        for name in ('noise', 'jpeg'):
            row = next(v for v in text.splitlines() if v.startswith(f'| {name}'))
            assert sum(map(int, row.split('|')[2:5])) in (99, 100, 101)
        assert ('| noise    | +0.000' in text) == (kind == 'degradation')
