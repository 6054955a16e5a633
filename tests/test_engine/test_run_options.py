"""What stops a run before data is opened, and how it is said."""
import pytest
import re

from memnet_basicsr.errors import UsageError
from memnet_basicsr.plugin.options import check_run
from tests.test_engine.tiny_runs import options, write_options, write_pictures

ADAM = {'type': 'Adam', 'lr': 1e-3}
PSNR = {'type': 'calculate_psnr', 'crop_border': 0}


def check(**changes):
    check_run(options(**changes), 'x.yml', True)


def test_fine_options_pass():
    check()
    check(
        train__grad_clip={'norm': 1.0},
        train__accumulate=4,
        train__keep_last=3,
        train__precision='bf16',
        train__channels_last=True,
        train__compile=True,
        train__sync_batchnorm=True,
        train__nonfinite_patience=5,
        val__tile=64,
        val__save_panel=True,
        val__per_image_csv=True,
        val__max_images=2,
        val__pbar=True,
        val__suffix='x',
        datasets__val_1__max_images=1,
        datasets__val_1__quantize=True,
        datasets__train__prefetch_mode='cpu',
        train__optim_g={
            'type': 'AdamW',
            'lr': 1e-3,
            'bias_lr_mult': 0.1,
            'fused': True
        },
        val__val_freq=5e3,
        val__metrics={
            'mae': {
                'type': 'calculate_lab_error',
                'crop_border': 0,
                'region': 'shadow',
                'better': 'lower',
                'pooled': True
            }
        })


@pytest.mark.parametrize('changes, message', [
    (dict(train__grad_clp={'norm': 1.}), 'train: grad_clp: no code reads this option; near: grad_clip'),
    (dict(train__ema_dcay=0.9), 'train: ema_dcay: no code reads this option; near: ema_decay'),
    (dict(sclae=1), 'sclae: no code reads this option; near: scale'),
    (dict(val__val_frq=3), 'val: val_frq: no code reads this option; near: val_freq'),
    (dict(logger__print_frq=3), 'logger: print_frq: no code reads this option; near: print_freq'),
    (dict(path__pretrained_network_g=None, path__strict=1), 'path: strict: no code reads this option'),
    (dict(datasets__train__gt_sise=3), 'datasets: train: gt_sise: no code reads this option; near: gt_size'),
    (dict(datasets__val_1__sgma=3), 'datasets: val_1: sgma: no code reads this option; near: sigma'),
    (dict(network_g={'type': 'MemNet', 'num_feats': 4}), 'network_g: MemNet has no argument num_feats; near: num_feat'),
    (dict(train__pixel_opt={'type': 'L1Loss', 'weight': 1}), 'train: pixel_opt: L1Loss has no argument weight; near: '
     'loss_weight'),
    (dict(val__metrics={'psnr': {**PSNR, 'crop_bordr': 0}}), 'val: metrics: psnr: calculate_psnr has no argument '
     'crop_bordr; near: crop_border'),
    (dict(datasets__val_2__metrics={'psnr': {'type': 'calculate_psnr'}}), 'datasets: val_2: metrics: psnr: '
     'calculate_psnr needs the argument crop_border'),
    (dict(val__metrics={'psnr': {**PSNR, 'better': 'more'}}), "better: 'more' is neither higher nor lower"),
    (dict(train__accumulate=3), 'train: accumulate: 3 does not divide batch_size_per_gpu: 4 into equal parts'),
    (dict(train__accumulate=0), 'train: accumulate: 0 does not divide'),
    (dict(train__ema_decay=1), r'train: ema_decay: 1 lies outside \[0, 1\)'),
    (dict(train__ema_decay=-0.1), 'ema_decay: -0.1 lies outside'),
    (dict(train__ema_decay='high'), 'ema_decay: high lies outside'),
    (dict(train__total_iter=21), 'train: total_iter: 21 lies beyond the 20 iterations of scheduler WarmupCosineLR'),
    (dict(train__scheduler={'type': 'CosineAnnealingRestartLR', 'periods': [9, 9], 'restart_weights': [1, 1]}),
     'train: total_iter: 20 lies beyond the 18 iterations of scheduler CosineAnnealingRestartLR'),
    (dict(train__scheduler={'type': 'CosineAnnealingRestartLR', 'periods': [9, 11]}), 'train: scheduler: '
     'CosineAnnealingRestartLR: periods and restart_weights should have the same length'),
    (dict(train__scheduler={'type': 'WarmupCosine', 'T_max': 9}), "train: scheduler: type 'WarmupCosine' is unknown; "
     'near: WarmupCosineLR'),
    (dict(train__scheduler={'type': 'WarmupCosineLR', 'Tmax': 9}), 'train: scheduler: WarmupCosineLR: .*Tmax'),
    (dict(train__optim_g={'type': 'adam', 'lr': 1}), "train: optim_g: type 'adam' is unknown; near: Adam"),
    (dict(train__optim_g={**ADAM, 'momentum': 1}), 'train: optim_g: Adam: .*momentum'),
    (dict(train__optim_g={**ADAM, 'lr': '2e-3'}), 'train: optim_g: lr: 2e-3 is text in YAML; write !!float 2e-3'),
    (dict(train__scheduler={'type': 'CosineAnnealingRestartLR', 'periods': ['1.5E4']}), 'periods: 1.5E4 is text in'),
    (dict(train__optim_g={'type': 'Adam'}), 'train: optim_g: has no lr'),
    (dict(train__optim_g={'type': 'LBFGS', 'lr': 1}), 'train: optim_g: LBFGS evaluates the loss several times'),
    (dict(train__precision='half'), "train: precision: 'half' is unknown, use one of fp32, bf16, fp16"),
    (dict(train__grad_clip={'norm': 1, 'value': 1}), 'train: grad_clip: .* is none of {norm: c}, {value: c}'),
    (dict(train__grad_clip={'nrm': 1}), 'train: grad_clip: .* is none of'),
    (dict(train__grad_clip=0.5), 'train: grad_clip: 0.5 is none of'),
    (dict(train__grad_clip={'norm': -1}), 'train: grad_clip: .* must hold a positive number'),
    (dict(train__grad_clip={'norm': 1}, train__use_grad_clip=True), 'grad_clip: use_grad_clip asks for the norm 0.01'),
    (dict(train__keep_last=0), 'train: keep_last: 0 is not a positive whole number'),
    (dict(train__total_iter='many'), "train: total_iter: 'many' is not a positive whole number"),
    (dict(logger__print_freq=0), 'logger: print_freq: 0 is not a positive whole number'),
    (dict(val__val_freq=0), 'val: val_freq: 0 is not a positive whole number'),
    (dict(val__save_img=None, val__save_image=True), 'val: save_image: no code reads this option; near: save_img'),
    (dict(val__max_images=0), 'val: max_images: 0 is not a positive whole number'),
    (dict(val__tile=64, val__tile_overlap=40), 'val: tile_overlap: 40 is more than half of tile: 64'),
    (dict(datasets__val_2__name='v1'), "datasets: val_2: name: 'v1' is also that of val_1; results are kept by name"),
])  # yapf: disable
def test_mistakes_are_named_with_their_place(changes, message):
    with pytest.raises(UsageError, match=rf'^x.yml: .*{message}') as error:
        check(**changes)
    assert '\n' not in str(error.value)


def test_a_run_stops_in_one_line_before_data_is_opened(server, tmp_path):
    write_pictures(tmp_path)
    (tmp_path / 'pics/train/broken.png').write_bytes(b'no picture')
    write_options(tmp_path, options(train__grad_clp={'norm': 1.}))
    assert server.run(tmp_path) == 1
    lines = (tmp_path / 'log').read_text().splitlines()
    assert lines[-1].startswith('error: t.yml: train: grad_clp: no code reads this option; near: grad_clip')
    assert 'Traceback' not in lines[0] and len(lines) <= 2
    assert not (tmp_path / 'experiments').exists()


def test_a_run_that_diverges_ends_in_one_line(server, tmp_path):
    write_pictures(tmp_path)
    write_options(
        tmp_path,
        options(
            network_g={'type': 'TinyNetForTests'},
            train__pixel_opt={'type': 'L1Loss'},
            train__optim_g={
                'type': 'SGD',
                'lr': 1e30
            },
            train__nonfinite_patience=4,
            val=None))
    assert server.run(tmp_path) == 1
    assert re.match(r'error: iter \d+: 4 steps in a row were not finite \(l_pix (nan|inf)\): lower the learning rate',
                    (tmp_path / 'log').read_text().splitlines()[-1])
