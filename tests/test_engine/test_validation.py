import copy
import csv
import cv2
import json
import math
import numpy as np
import pytest
import torch
from dataclasses import replace
from torch.utils.data import DataLoader, Dataset

from basicsr.metrics.psnr_ssim import calculate_psnr, calculate_ssim
from basicsr.models import build_model
from basicsr.utils import rgb2ycbcr, ycbcr2bgr
from memnet_basicsr.engine.images import color_image, error_image, panel, to_image
from memnet_basicsr.engine.stop import StopAsked
from memnet_basicsr.engine.validation import Validation
from memnet_basicsr.errors import UsageError
from memnet_basicsr.fast import forms
from memnet_basicsr.metrics import calculate_lab_error
from tests.test_engine.tiny_runs import (TinyNetForTests, assert_same, batch, model_options, options, write_images,
                                         write_options)

PSNR = {'type': 'calculate_psnr', 'crop_border': 0}
SSIM = {'type': 'calculate_ssim', 'crop_border': 0}


class Items(Dataset):
    """Items of validation in memory."""

    def __init__(self, items, **opt):
        self.items, self.opt = items, {'name': 'v', **opt}

    def __getitem__(self, index):
        return {'lq_path': f'some/where/p{index}.png', **self.items[index]}

    def __len__(self):
        return len(self.items)


def items(count=3, channels=1, seed=0, **more):
    generator = torch.Generator().manual_seed(seed)
    result = []
    for i in range(count):
        gt = torch.rand(channels, 14 + i, 17, generator=generator)
        lq = gt + 0.2 * torch.randn(gt.shape, generator=generator)
        result.append({'gt': gt, 'lq': lq, **{k: v(i, gt.shape[1:]) for k, v in more.items()}})
    return result


@pytest.fixture
def validate(tmp_path):
    """Validate an identity network on items; returns the means and the model."""

    def run(data, metrics=None, iteration=5, tb_logger=None, save_img=False, model=None, set_opt=None, **val):
        channels = data[0]['lq'].shape[0]
        if model is None:
            opt = model_options(
                tmp_path,
                network_g={
                    'type': 'TinyNetForTests',
                    'num_in_ch': channels
                },
                train__ema_decay=None,
                train__pixel_opt={'type': 'L1Loss'})
            opt['val'] = {'val_freq': 5, 'save_img': False, 'metrics': metrics or {'psnr': PSNR}, **val}
            model = build_model(opt)
            for p in model.net_g.tail.parameters():
                torch.nn.init.zeros_(p)
        loader = DataLoader(Items(data, **(set_opt or {})))
        means = Validation(model, loader).run(iteration, tb_logger, save_img)
        return means, model

    return run


def expected(data, metric, quantize=True, **kwargs):
    return [
        metric(to_image(v['lq'], quantize), to_image(v['gt'], quantize), crop_border=0, **kwargs) for v in data
    ]  # yapf: disable


@pytest.mark.parametrize('quantize', [True, False])
def test_metrics_and_log(validate, tmp_path, quantize):
    data = items()
    means, model = validate(data, {'psnr': PSNR, 'ssim': SSIM}, quantize=quantize)
    assert means['psnr'] == pytest.approx(np.mean(expected(data, calculate_psnr, quantize)), rel=1e-9)
    assert means['ssim'] == pytest.approx(np.mean(expected(data, calculate_ssim, quantize)), rel=1e-9)
    lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
    assert [json.loads(v) for v in lines] == [{'iter': 5, 'dataset': 'v', **means}]
    assert model.best_metric_results == {
        'v': {k: {'better': 'higher', 'val': v, 'iter': 5} for k, v in means.items()}
    }  # yapf: disable


def test_quantize_rounds():
    tensor = torch.tensor([[[-0.1, 0.5, 1.2, 0.3 / 255]]])
    assert to_image(tensor).tolist() == [[[0], [128], [255], [0]]]
    assert to_image(tensor, False).ravel() == pytest.approx([-25.5, 127.5, 306., 0.3], rel=1e-6)
    assert to_image(torch.tensor([0., 0.5, 1.]).view(3, 1, 1)).tolist() == [[[255, 128, 0]]]  # RGB to BGR


def test_options_of_a_set_come_before_those_of_val(validate):
    data = items()
    means, _ = validate(
        data, quantize=True, max_images=1, set_opt={
            'quantize': False,
            'max_images': 2,
            'metrics': {
                'mine': PSNR
            }
        })
    assert means == {'mine': pytest.approx(np.mean(expected(data, calculate_psnr, False)[:2]), rel=1e-9)}


def test_best_records(validate):
    lower = {'mae': {**PSNR, 'better': 'lower'}, 'psnr': PSNR}
    _, model = validate(items(), lower, iteration=5)
    first = dict(model.best_metric_results['v'])
    better = [{'gt': v['gt'], 'lq': v['gt'] + 0.1 * (v['lq'] - v['gt'])} for v in items()]
    validate(better, iteration=10, model=model)
    best = model.best_metric_results['v']
    assert best['psnr']['iter'] == 10 and best['psnr']['val'] > first['psnr']['val']
    assert best['mae'] == first['mae']


def test_masks(validate, tmp_path):
    """An image without shadow does not count."""

    def mask(i, shape):
        mask = torch.zeros(1, *shape)
        mask[:, :2 + 5 * i, :9] = 1. if i != 1 else 0.
        return mask

    data = items(channels=3, mask=mask)
    metric = {'type': 'calculate_lab_error', 'crop_border': 0, 'region': 'shadow', 'better': 'lower'}
    means, _ = validate(data, {'mae': metric, 'psnr': PSNR}, per_image_csv=True)
    single = [
        calculate_lab_error(to_image(v['lq']), to_image(v['gt']), 0, mask=v['mask'][0].numpy() * 255, region='shadow')
        for v in data
    ]
    assert math.isnan(single[1])
    assert means['mae'] == pytest.approx((single[0] + single[2]) / 2)
    with open(tmp_path / 'v_5.csv') as f:
        rows = list(csv.reader(f))
    assert rows[0] == ['image', 'mae', 'psnr']
    assert [v[0] for v in rows[1:]] == ['p0', 'p1', 'p2']
    assert [float(v[1]) for v in rows[1:]] == pytest.approx([float(v) for v in single], nan_ok=True)


def broken_bias(model, value):
    torch.nn.init.constant_(model.net_g.tail.bias, value)


@pytest.mark.parametrize('value', [math.nan, math.inf])
def test_output_that_is_not_finite(validate, tmp_path, monkeypatch, value):
    """Rounded to 8 bits it would be a black or white image, whose figures look right."""
    data = items()
    _, model = validate(data)
    best = copy.deepcopy(model.best_metric_results)
    broken_bias(model, value)
    lines = []
    logger = type('Logger', (), {'info': lines.append, 'warning': lines.append})
    monkeypatch.setattr('memnet_basicsr.engine.validation.get_root_logger', lambda: logger)
    means, _ = validate(data, iteration=10, model=model, save_img=True)
    assert math.isnan(means['psnr']) and model.best_metric_results == best
    assert lines[0] == 'Validation v: the output of p0, p1, p2 holds NaN or infinite values'
    assert not (tmp_path / 'visualization').exists()
    model.opt['is_train'] = False
    with pytest.raises(UsageError, match=r'Validation v: the output of p0, p1, p2 holds NaN .*or other weights'):
        validate(data, model=model)


@pytest.mark.parametrize('kind', ['lq', 'gt'])
def test_data_that_are_not_finite(validate, kind):
    data = items()
    data[1][kind][0, 2, 3] = math.nan
    with pytest.raises(UsageError, match=f'dataset v: image .*p1.png: {kind} holds NaN or infinite values; replace'):
        validate(data)


def test_images_of_the_same_name_in_two_folders(validate, tmp_path):
    data = items(2)
    for item, name in zip(data, ('a', 'b')):
        item['lq_path'] = str(tmp_path / 'in' / name / 'x.png')
    validate(data, save_img=True, set_opt={'dataroot_lq': str(tmp_path / 'in')}, per_image_csv=True)
    files = {str(v.relative_to(tmp_path / 'visualization')) for v in tmp_path.rglob('*.png')}
    assert files == {'v/a_x/a_x_5.png', 'v/b_x/b_x_5.png'}
    assert [v.split(',')[0] for v in (tmp_path / 'v_5.csv').read_text().splitlines()] == ['image', 'a_x', 'b_x']


def test_no_image_has_the_region(validate, tmp_path):
    data = items(channels=3, mask=lambda i, shape: torch.zeros(1, *shape))
    metric = {'type': 'calculate_region_psnr', 'crop_border': 0, 'region': 'shadow'}
    means, model = validate(data, {'psnr': metric})
    assert math.isnan(means['psnr']) and model.best_metric_results == {'v': {}}
    assert json.loads((tmp_path / 'metrics.jsonl').read_text()) == {'iter': 5, 'dataset': 'v', 'psnr': None}
    full = items(channels=3, mask=lambda i, shape: torch.ones(1, *shape))
    validate(full, iteration=10, model=model)
    assert model.best_metric_results['v']['psnr']['iter'] == 10


def test_images_and_panels(validate, tmp_path):
    data = items(2)
    validate(data, save_img=True, save_panel=True)
    folder = tmp_path / 'visualization/v/p1'
    restored = cv2.imread(str(folder / 'p1_5.png'), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(restored, to_image(data[1]['lq'])[..., 0])
    shown = cv2.imread(str(folder / 'p1_5_panel.png'))
    lq, gt = to_image(data[1]['lq']).astype(int), to_image(data[1]['gt']).astype(int)
    error = np.minimum(4 * np.abs(lq - gt), 255)
    assert np.array_equal(shown, np.repeat(np.hstack([lq, lq, gt, error]), 3, axis=2))


@pytest.mark.parametrize('opt, paths', [
    ({'dataroot_lq': 'data/lq'}, ['data/lq/a/p.png', 'data/lq/b/p.png']),
    ({'io_backend': {'type': 'lmdb'}, 'dataroot_lq': 'x.lmdb'}, ['a/p', 'b/p']),
])  # yapf: disable
def test_images_of_one_name_in_two_folders(validate, tmp_path, opt, paths):
    data = [{**item, 'lq_path': path} for item, path in zip(items(2), paths)]
    validate(data, save_img=True, set_opt=opt)
    found = sorted(v.name for v in (tmp_path / 'visualization/v').rglob('*.png'))
    assert found == ['a_p_5.png', 'b_p_5.png']


@pytest.mark.parametrize('metric, text', [
    ({'type': 'calculate_psnr', 'crop_border': 7}, 'crop_border: 7 leaves nothing of image p0, 14 x 17 pixels'),
    ({'type': 'calculate_niqe', 'crop_border': 0}, 'dataset v: metrics: image p0: '),
])  # yapf: disable
def test_metric_that_cannot_be_computed(validate, metric, text):
    with pytest.raises(UsageError, match=text) as error:
        validate(items(1), {'m': metric})
    assert '\n' not in str(error.value)


def test_panel_of_super_resolution():
    small, large = np.full((2, 3, 1), 7, np.uint8), np.full((4, 6, 3), 9, np.uint8)
    assert panel([small, large]).shape == (4, 12, 3) and (panel([small, large])[:, :6] == 7).all()
    assert error_image(large, large + np.uint8([3, 0, 0])).ravel()[0] == 4


class Board:
    """TensorBoard's writer as far as it is used."""

    def __init__(self):
        self.images, self.scalars = {}, {}

    def add_image(self, tag, image, iteration, dataformats):
        assert dataformats == 'HWC'
        self.images[tag, iteration] = image

    def add_scalar(self, tag, value, iteration):
        self.scalars[tag, iteration] = value


def test_tensorboard_gets_the_first_image_of_a_set(validate):
    data, board = items(channels=3), Board()
    means, _ = validate(data, tb_logger=board)
    assert list(board.images) == [('v/p0', 5)]
    lq, gt = (to_image(data[0][k])[..., ::-1] for k in ('lq', 'gt'))
    assert np.array_equal(board.images['v/p0', 5], np.hstack([lq, lq, gt]))
    assert board.scalars == {('metrics/v/psnr', 5): means['psnr']}


def test_luminance_is_saved_with_chroma(validate, tmp_path):
    """The image of the network's Y and the item's chroma has that Y again, and the chroma."""
    rgb = cv2.GaussianBlur(np.random.RandomState(0).rand(16, 18, 3).astype(np.float32), (5, 5), 2)
    ycbcr = torch.from_numpy(rgb2ycbcr(rgb).transpose(2, 0, 1))
    data = [{'lq': ycbcr[:1], 'gt': ycbcr[:1], 'chroma': ycbcr[1:]}]
    means, _ = validate(data, save_img=True)
    saved = cv2.imread(str(tmp_path / 'visualization/v/p0/p0_5.png'))
    assert np.abs(saved.astype(float) - rgb[..., ::-1] * 255).max() <= 1  # the formulas' own rounding
    assert np.array_equal(saved, color_image(ycbcr[:1], ycbcr[1:]))
    by_hand = ycbcr2bgr(ycbcr.numpy().transpose(1, 2, 0)) * 255
    assert np.abs(saved - by_hand).max() <= 0.5
    assert math.isinf(means['psnr'])  # judged on the luminance


def test_a_set_without_clean_images_does_not_see_those_of_another(validate):
    data = [{'lq': v['lq']} for v in items(channels=3)]
    _, model = validate(items(channels=3))
    means, model = validate(data, model=model, set_opt={'metrics': {'niqe': {'type': 'count_images_for_tests'}}})
    assert means == {'niqe': 1}


@pytest.fixture(autouse=True, scope='module')
def count_metric():
    from basicsr.utils.registry import METRIC_REGISTRY
    if 'count_images_for_tests' not in METRIC_REGISTRY:

        def count_images_for_tests(**images):
            return len(images)

        METRIC_REGISTRY.register(count_images_for_tests)


def test_nothing_is_drawn_from_global_generators(validate):
    torch.manual_seed(0)
    np.random.seed(0)
    validate(items())
    _, model = validate(items())
    before = torch.get_rng_state(), np.random.get_state()[2]
    validate(items(), model=model)
    assert torch.equal(before[0], torch.get_rng_state()) and before[1] == np.random.get_state()[2]


def test_the_network_is_in_training_mode_afterwards(validate):
    _, model = validate(items())
    assert all(m.training for m in model.net_g.modules())


MEMNET = {'type': 'MemNet', 'num_feat': 4, 'num_block': 2, 'num_recursion': 2}
MEMORYNET = {'type': 'MemoryNet', 'num_feat': 8, 'scale_unetfeats': 4, 'scale_orsnetfeats': 4, 'num_cab': 1}


@pytest.mark.parametrize('network, loss, channels', [(MEMNET, {'type': 'MultiSupervisedLoss'}, 1),
                                                     (MEMORYNET, {'type': 'MultiOutputLoss',
                                                                  'losses': [{'type': 'L1Loss'}]}, 3)])  # yapf: disable
def test_the_form_for_inference_is_validated(validate, tmp_path, monkeypatch, network, loss, channels):
    """Made once of the averaged weights as they are now; same figures; nothing of the training is touched."""
    torch.manual_seed(0)
    opt = model_options(tmp_path, network_g=network, train__pixel_opt=loss, train__ema_decay=0.5)
    opt['val']['metrics'] = {'psnr': PSNR}
    model, data = build_model(opt), items(channels=channels)

    def step(i):
        model.feed_data(batch(i, 2, channels, 16))
        model.update_learning_rate(i)
        model.optimize_parameters(i)

    step(1)
    made, cls = [], type(model.net_g_ema)
    form = forms.INFERENCE[cls]
    monkeypatch.setitem(forms.INFERENCE, cls, lambda net: made.append(net) or form(net))
    for i in (2, 3):
        torch.manual_seed(i)
        before = copy.deepcopy([model.net_g.state_dict(), model.net_g_ema.state_dict()])
        generator, modes = torch.get_rng_state(), [m.training for m in model.net_g.modules()]
        means, _ = validate(data, model=model, quantize=False)
        assert len(made) == i - 1 and made[-1] is model.net_g_ema and model.net_prepared is None
        assert torch.equal(generator, torch.get_rng_state())
        assert modes == [m.training for m in model.net_g.modules()]
        assert_same(before, [model.net_g.state_dict(), model.net_g_ema.state_dict()])
        model.inference = replace(model.inference, deploy=False)
        plain, _ = validate(data, model=model, quantize=False)
        model.inference = replace(model.inference, deploy=True)
        assert means == pytest.approx(plain, rel=1e-5) and len(made) == i - 1
        step(i)
    first = json.loads((tmp_path / 'metrics.jsonl').read_text().splitlines()[0])
    assert first['psnr'] != means['psnr']


def test_the_form_for_inference_is_freed_after_a_failure(validate, monkeypatch):
    _, model = validate(items())
    monkeypatch.setattr(Validation, '_validate_share', lambda *args: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        validate(items(), model=model)
    assert model.net_prepared is None


def test_a_validation_that_is_asked_to_stop_records_nothing(validate, tmp_path):
    _, model = validate(items())
    model.stop.signal = 15
    with pytest.raises(StopAsked) as asked:
        validate(items(), iteration=10, model=model)
    assert asked.value.args == (15, )
    assert len((tmp_path / 'metrics.jsonl').read_text().splitlines()) == 1
    assert model.best_metric_results['v']['psnr']['iter'] == 5


def test_progress_bar(validate, capfd):
    validate(items(), pbar=True)
    assert '0/3' in capfd.readouterr().err
    validate(items())
    assert '0/3' not in capfd.readouterr().err


def test_test_py_goes_through_the_same_validation(server, tmp_path):
    """BasicSR's unmodified test.py: same figures, files named after the run."""
    from tests.test_engine.fork_server import TEST
    write_images(tmp_path, val=2)
    net = TinyNetForTests()
    torch.save({'params': net.state_dict()}, tmp_path / 'net.pth')
    opt = options()
    opt['datasets'] = {'test_1': opt['datasets']['val_1'], 'test_2': opt['datasets']['val_2']}
    opt.update(network_g={'type': 'TinyNetForTests'}, path={'pretrain_network_g': 'net.pth', 'strict_load_g': True})
    opt['val'] = {'save_img': True, 'suffix': None, 'per_image_csv': True, 'metrics': {'psnr': PSNR}}
    del opt['train'], opt['logger']
    write_options(tmp_path, opt)
    assert server.run(tmp_path, '-opt', 't.yml', script=TEST) == 0, (tmp_path / 'log').read_text()
    results = tmp_path / 'results/run'
    lines = [json.loads(v) for v in (results / 'metrics.jsonl').read_text().splitlines()]
    assert [(v['iter'], v['dataset']) for v in lines] == [('run', 'v1'), ('run', 'v2')]
    assert (results / 'visualization/v1/p1_run.png').is_file()
    with open(results / 'v1_run.csv') as f:
        values = [float(v[1]) for v in list(csv.reader(f))[1:]]
    assert lines[0]['psnr'] == pytest.approx(np.mean(values))
