"""Wrong option files: one line for every mistake, with the line of the file, before anything is opened."""
import os
import pytest
import re
import time
import yaml
from pathlib import Path

import memnet_basicsr  # noqa: F401
from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY
from memnet_basicsr.data.noisy_image_dataset import NoisyImageDataset
from memnet_basicsr.data.options import LoaderOptions, NoisyImageOptions
from memnet_basicsr.engine.options import LoggerOptions, OptimizerOptions, PerSetOptions, RunOptions, TrueCosineOptions
from memnet_basicsr.errors import UsageError
from memnet_basicsr.models.restoration_model import RestorationModel
from memnet_basicsr.option_block import Block, option
from memnet_basicsr.plugin.option_file import check_file, check_launcher, override, read_option_file
from memnet_basicsr.plugin.yaml_file import OptionFile
from tests.test_plugin.wrong_files import BASE, CHANGES, FILES, TEXT

OPTIONS = Path(__file__).resolve().parents[2] / 'options'
OPTION_FILES = sorted([*OPTIONS.glob('*.yml'), *OPTIONS.glob('ablation/train_*.yml')])


@pytest.fixture
def lines(tmp_path):
    """Messages on an option file of this text, without its path."""

    def check(text, here=False, force=()):
        path = tmp_path / 'x.yml'
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        try:
            file = read_option_file(str(path))
            override(file, force)
            check_file(file, here=here)
        except UsageError as error:
            return [v.removeprefix(f'{path}:') for v in str(error).splitlines()]
        return []

    return check


def test_base_is_in_order(lines):
    assert lines(TEXT) == []
    assert len(FILES) + len(CHANGES) >= 60


@pytest.mark.parametrize('name', FILES)
def test_file_that_holds_no_options(lines, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text, wanted = FILES[name]
    start = time.perf_counter()
    line, = lines(text)
    assert line.startswith(wanted) and time.perf_counter() - start < 3
    assert os.listdir(tmp_path) == ['x.yml']  # nothing was executed


@pytest.mark.parametrize('name', CHANGES)
def test_wrong_option(lines, name):
    text, wanted = CHANGES[name]
    found = lines(text)
    assert any(re.fullmatch(r'\d+', v.split(': ')[0]) and wanted in v for v in found), found
    assert all(re.match(r'\d+: ', v) for v in found) and len(found) <= 3
    key = wanted.split(': ')[-2] if ': ' in wanted else ''
    number = int(next(v for v in found if wanted in v).split(':')[0])
    present = [i for i, v in enumerate(text.splitlines(), 1) if v.strip().startswith(f'{key}:')]
    # the line of the option, where the file has it
    assert number in present or not present or 'is missing' in wanted


def test_all_mistakes_at_once_in_the_order_of_the_file(lines):
    text = yaml.safe_dump({**BASE, 'scale': 0, 'train': {**BASE['train'], 'tile': 1, 'total_iter': 'x'},
                           'val': {**BASE['val'], 'save_img': 1}}, sort_keys=False)  # yapf: disable
    found = lines(text)
    assert [v.split(': ', 1)[1] for v in found] == [
        'scale: 0 is not an integer >= 1', "train: total_iter: 'x' is not an integer >= 1",
        'train: tile: unknown option; belongs in `val:`', 'val: save_img: 1 is not true or false'
    ]
    assert [int(v.split(':')[0]) for v in found] == sorted(int(v.split(':')[0]) for v in found)


# every place of a file, with the class whose options are known there
PLACES = {
    (): RunOptions,
    ('path', ): RestorationModel.PathOptions,
    ('train', ): RestorationModel.TrainOptions,
    ('val', ): RestorationModel.ValOptions,
    ('logger', ): LoggerOptions,
    ('train', 'optim_g'): OptimizerOptions,
    ('train', 'scheduler'): TrueCosineOptions,
    ('datasets', 'train'): (LoaderOptions, NoisyImageOptions),
    ('datasets', 'val'): (LoaderOptions, NoisyImageOptions, PerSetOptions),
    ('network_g', ): ('type', 'num_in_ch', 'num_out_ch', 'num_feat', 'num_block', 'num_recursion', 'multi_supervised',
                      'supervise', 'long_term', 'short_term', 'shared_recursion', 'unshuffle'),
    ('train', 'pixel_opt'): ('type', 'loss_weight', 'reduction'),
    ('val', 'metrics', 'psnr'): ('type', 'crop_border', 'input_order', 'test_y_channel', 'better'),
}  # yapf: disable
BLOCKS = ('datasets', 'network_g', 'path', 'train', 'val', 'logger')


def keys_of(place):
    """Options that may stand in a block: of datasets only those of its phase."""
    found = PLACES[place]
    if isinstance(found, tuple) and isinstance(found[0], str):
        return set(found)
    keys = set(BLOCKS) if place == () else set()
    for cls in found if isinstance(found, tuple) else (found, ):
        keys |= {k for k in cls.model_fields if not cls.extra(k).get('injected')
                 and (place[:1] != ('datasets', ) or cls.extra(k).get('phase', place[1]) == place[1])}  # yapf: disable
    return keys


@pytest.mark.parametrize('place', PLACES, ids=lambda v: ' '.join(v) or 'top')
def test_every_option_is_refused_in_every_wrong_block(lines, place):
    known = set().union(*(keys_of(v) for v in PLACES))
    wrong = sorted(known - keys_of(place))
    assert len(wrong) > 40
    opt = yaml.safe_load(TEXT)
    block = opt
    for key in place:
        block = block[key]
    block.update(dict.fromkeys(wrong, 1))
    text = ': '.join(place)
    found = lines(yaml.safe_dump(opt, sort_keys=False))
    named = {v.split(': ')[1 + len(place)] for v in found if v.split(': ', 1)[1].startswith(text)}
    assert set(wrong) - named == set()
    # each line says that the option is unknown here, or which sets read it
    words = ('unknown option', 'has no argument', 'sets only', 'is set by BasicSR')
    assert [v for v in found if v.split(': ')[1 + len(place)] in wrong and not any(w in v for w in words)] == []


@pytest.mark.parametrize('path', OPTION_FILES, ids=lambda v: v.stem)
def test_option_files_are_in_order(path):
    check_file(read_option_file(str(path)), here=False)


# ---- options of users -----------------------------------------------------------------------------------------------


@pytest.fixture
def registered():
    """Register classes for one test."""
    added = []

    def register(known, cls):
        known.register(cls)
        added.append((known, cls.__name__))

    yield register
    for known, name in added:
        del known._obj_map[name]


def test_subclass_of_a_model_adds_options(lines, registered):

    class ModelWithTV(RestorationModel):

        class TrainOptions(RestorationModel.TrainOptions):
            tv_weight: float = option(0., 'Weight of the total variation of the output.', ge=0)

            def rules(self):
                yield from super().rules()
                if self.tv_weight and self.precision == 'fp16':
                    yield 'tv_weight', 'needs fp32 or bf16'

    registered(MODEL_REGISTRY, ModelWithTV)
    text = TEXT.replace('RestorationModel', 'ModelWithTV').replace('train:\n  optim_g',
                                                                   'train:\n  tv_weight: 0.1\n  optim_g')
    assert lines(text) == []
    assert 'tv_weight: unknown option' in lines(text.replace('ModelWithTV', 'RestorationModel'))[0]
    assert "tv_weight: -1 is not a number >= 0" in lines(text.replace('tv_weight: 0.1', 'tv_weight: -1'))[0]
    assert 'tv_weight: needs fp32' in lines(text.replace('tv_weight: 0.1', 'tv_weight: 1\n  precision: fp16'))[0]
    assert 'closest match: tv_weight' in lines(text.replace('tv_weight: 0.1', 'tv_wait: 1'))[0]
    assert ModelWithTV.TrainOptions.read(yaml.safe_load(text)['train']).tv_weight == 0.1


def test_subclass_of_a_data_set_adds_options(lines, registered):

    class StripedDataset(NoisyImageDataset):

        class Options(NoisyImageOptions):
            stripes: int = option(..., 'Width of the stripes.', unit='pixels', ge=1)

    registered(DATASET_REGISTRY, StripedDataset)
    text = TEXT.replace('NoisyImageDataset', 'StripedDataset')
    assert [v.split(': ', 1)[1]
            for v in lines(text)] == [f'datasets: {v}: stripes: is missing' for v in ('train', 'val')]
    assert lines(text.replace('sigma: 50', 'sigma: 50\n    stripes: 3')) == []


# ---- the command line -----------------------------------------------------------------------------------------------


def test_overrides(lines, tmp_path):
    assert lines(TEXT, force=['train:total_iter=10', 'datasets:train:sigma=[10, 20]']) == []
    assert 'total_iter: 21 exceeds' in lines(TEXT, force=['train:total_iter=21'])[0]
    code = f'[open("{tmp_path}/gone", "w")]'
    for entry, wanted in (('train', 'write block:key=value'), ('train:a=1=2', 'write block:key=value'),
                          ('trian:total_iter=2', 'has no block `trian:`; closest match: train'),
                          (f'train:total_iter={code}'.replace('=', '=', 1), 'is not a plain value'),
                          ('x"];import os;opt["y=1', 'write block:key=value')):  # yapf: disable
        assert wanted in lines(TEXT, force=[entry])[0], entry
    assert not (tmp_path / 'gone').exists()


@pytest.mark.parametrize('launcher, command', [('pytorch', 'torchrun'), ('slurm', 'srun')])
def test_launcher_alone(monkeypatch, launcher, command):
    monkeypatch.delenv('RANK', raising=False)
    monkeypatch.delenv('SLURM_PROCID', raising=False)
    file = OptionFile('x.yml')
    with pytest.raises(UsageError, match=f'start the run with {command}'):
        check_launcher(launcher, file)
    check_launcher('none', file)
    file.options['train'] = {'sync_batchnorm': True}
    with pytest.raises(UsageError, match=r'x\.yml:1: train: sync_batchnorm: needs several processes'):
        check_launcher('none', file)


def test_this_machine(lines, tmp_path):
    found = lines(
        TEXT.replace('num_gpu: 0', 'num_gpu: 99').replace('resume_state: null', 'resume_state: 7.state'), here=True)
    assert 'num_gpu: 99, but this machine has' in found[0]
    assert len([v for v in found if 'dataroot_gt: pics does not exist (current directory: ' in v]) == 2
    assert any('path: resume_state: 7.state does not exist' in v for v in found) and len(found) == 4


def test_block_reads_its_own_options_and_names_wrong_ones():

    class Some(Block):
        size: int = option(3, 'Size.', ge=1)
        names: list[str] | None = option(None, 'Names.')

    some = Some.read({'size': 5e0, 'other': 1})
    assert (some.size, some.names, some.given()) == (5, None, {'size': 5}) and isinstance(some.size, int)
    with pytest.raises(
            UsageError, match=r"^val: size: 0 is not an integer >= 1; names: 'a' is not a list of strings or ~$"):
        Some.read({'size': 0, 'names': 'a'}, 'val')
    with pytest.raises(ValueError, match='frozen'):
        some.size = 4
