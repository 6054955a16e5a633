"""What stops a run before data is opened, and how it is said."""
import pytest
import re

from memnet_basicsr.errors import UsageError
from memnet_basicsr.plugin.check import check_options
from tests.test_engine.tiny_runs import options, write_images, write_options

ADAM = {'type': 'Adam', 'lr': 1e-3}
PSNR = {'type': 'calculate_psnr', 'crop_border': 0}


def check(**changes):
    faults = check_options(options(**changes), here=False)
    if faults:
        raise UsageError('\n'.join(': '.join([*map(str, v.place), v.text]) for v in faults))


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
        val__metrics={'mae': {
            'type': 'calculate_lab_error',
            'crop_border': 0,
            'region': 'shadow',
            'better': 'lower'
        }})


@pytest.mark.parametrize('changes, message', [
    (dict(train__grad_clp={'norm': 1.}), 'train: grad_clp: unknown option; closest match: grad_clip'),
    (dict(train__ema_dcay=0.9), 'train: ema_dcay: unknown option; closest match: ema_decay'),
    (dict(train__lr=1), 'train: lr: unknown option; belongs in `train: optim_g:`'),
    (dict(train__tile=64), 'train: tile: unknown option; belongs in `val:`'),
    (dict(val__ema_decay=0.9), 'val: ema_decay: unknown option; belongs in `train:`'),
    (dict(train__tilee=64), 'train: tilee: unknown option; closest match: tile in `val:`'),
    (dict(sclae=1), 'sclae: unknown option; closest match: scale'),
    (dict(val__val_frq=3), 'val: val_frq: unknown option; closest match: val_freq'),
    (dict(logger__print_frq=3), 'logger: print_frq: unknown option; closest match: print_freq'),
    (dict(path__strict=1), 'path: strict: unknown option'),
    (dict(network_d={'type': 'MemNet'}), 'network_d: is not used by RestorationModel, which builds network_g; remove'),
    (dict(datasets__train__gt_sise=3), 'datasets: train: gt_sise: unknown option; closest match: gt_size'),
    (dict(datasets__val_1__sgma=3), 'datasets: val_1: sgma: unknown option; closest match: sigma'),
    (dict(datasets__val_1__gt_size=3), 'datasets: val_1: gt_size: is read in training sets only; remove the line'),
    (dict(datasets__train__quantize=False), 'datasets: train: quantize: is read in validation sets only'),
    (dict(datasets__train__phase='train'), 'datasets: train: phase: is set by BasicSR; remove the line'),
    (dict(datasets__train__sigma=-1), 'train: sigma: -1 is not a number >= 0 or a list of numbers >= 0 or ~'),
    (dict(datasets__val_1__sigma=[1, 2]), r'datasets: val_1: sigma: \[1, 2\]: a validation set has one level'),
    (dict(datasets__train__clean_prob=1.5), r'clean_prob: 1.5 is not a number in \[0, 1\]'),
    (dict(datasets__train__batch_size_per_gpu=0), 'batch_size_per_gpu: 0 is not an integer >= 1'),
    (dict(datasets__train__num_worker_per_gpu=-1), 'num_worker_per_gpu: -1 is not an integer >= 0'),
    (dict(datasets__train__prefetch_mode='cuda'), r'prefetch_mode: cuda needs pin_memory: true'),
    (dict(network_g={'type': 'MemNet', 'num_feats': 4}),
     'network_g: num_feats: MemNet has no argument num_feats; closest match: num_feat'),
    (dict(network_g={'type': 'MemNet', 'num_feat': 'x'}), "network_g: num_feat: 'x' is not a number"),
    (dict(network_g={'type': 'MemNet', 'supervise': 'some'}), "network_g: supervise: supervise must be 'all' or"),
    (dict(network_g={'type': 'MemNet', 'num_feat': 0}),
     'network_g: .*num_feat must be a positive integer, but received 0'),
    (dict(network_g={'type': 'MemNet', 'num_in_ch': 3}),
     'network_g: num_in_ch: 3 channels, but datasets: train gives 1 ' r'\(color: gray\); make them equal'),
    (dict(train__pixel_opt={'type': 'L1Loss'}),
     'train: pixel_opt: type: L1Loss takes one output, but MemNet returns several'),
    (dict(train__pixel_opt={'type': 'MultiSupervisedLoss', 'weight': 1}),
     'train: pixel_opt: weight: MultiSupervisedLoss has no argument weight; closest match: loss_weight'),
    (dict(train__pixel_opt={'type': 'MultiSupervisedLoss', 'loss_weight': 'x'}), "loss_weight: 'x' is not a number"),
    (dict(train__pixel_opt={'type': 'PSNRLoss', 'reduction': 'none'}), 'train: pixel_opt: .*reduction'),
    (dict(train__pixel_opt=None), 'train: pixel_opt: is missing'),
    (dict(val__metrics={'psnr': {**PSNR, 'crop_bordr': 0}}), 'val: metrics: psnr: crop_bordr: calculate_psnr has no '
     'argument crop_bordr; closest match: crop_border'),
    (dict(val__metrics={'psnr': {**PSNR, 'crop_border': -1}}), 'psnr: crop_border: -1 is not an integer >= 0'),
    (dict(datasets__val_2__metrics={'psnr': {'type': 'calculate_psnr'}}), 'datasets: val_2: metrics: psnr: '
     'crop_border: is missing; calculate_psnr needs it'),
    (dict(val__metrics={'psnr': {**PSNR, 'better': 'more'}}), "better: 'more' is not one of higher, lower"),
    (dict(train__accumulate=3), 'train: accumulate: 3 does not divide batch_size_per_gpu: 4; use a divisor'),
    (dict(train__accumulate=0), 'train: accumulate: 0 is not an integer >= 1'),
    (dict(train__ema_decay=1), r'train: ema_decay: 1 is not a number in \[0, 1\)'),
    (dict(train__ema_decay=-0.1), 'ema_decay: -0.1 is not'),
    (dict(train__ema_decay='high'), "ema_decay: 'high' is not a number"),
    (dict(train__total_iter=21), 'train: total_iter: 21 exceeds the 20 iterations of scheduler '
     'CosineAnnealingRestartLR'),
    (dict(train__scheduler={'type': 'CosineAnnealingRestartLR', 'periods': [9, 9], 'restart_weights': [1, 1]}),
     'train: total_iter: 20 exceeds the 18 iterations of scheduler CosineAnnealingRestartLR'),
    (dict(train__scheduler={'type': 'CosineAnnealingRestartLR', 'periods': [9, 11]}), 'train: scheduler: '
     'restart_weights: has 1 items, but periods has 2; give one per period'),
    (dict(train__scheduler={'type': 'TrueCosineLR', 'T_max': 9}), "train: scheduler: type 'TrueCosineLR' is unknown; "
     'closest match: TrueCosineAnnealingLR'),
    (dict(train__scheduler={'T_max': 9}), 'train: scheduler: type is missing'),
    (dict(train__scheduler={'type': 'TrueCosineAnnealingLR', 'Tmax': 20}), 'train: scheduler: T_max: is missing'),
    (dict(train__scheduler={'type': 'MultiStepLR', 'milestones': 'x'}),
     "milestones: 'x' is not a list of integers"),
    (dict(train__warmup_iter=20), 'train: warmup_iter: 20 must be below total_iter: 20'),
    (dict(train__optim_g={'type': 'adam', 'lr': 1}), "train: optim_g: type 'adam' is unknown; closest match: Adam"),
    (dict(train__optim_g={**ADAM, 'momentum': 0.9}),
     'train: optim_g: momentum: Adam has no argument momentum; remove the line'),
    (dict(train__optim_g={**ADAM, 'lr': 0}), 'train: optim_g: lr: 0 is not a number > 0'),
    (dict(train__optim_g={**ADAM, 'lr': '2e-3'}), "train: optim_g: lr: '2e-3' is a string in YAML; write !!float 2e-3"),
    (dict(train__scheduler={'type': 'CosineAnnealingRestartLR', 'periods': ['1.5E4']}), "'1.5E4' is a string in"),
    (dict(train__optim_g={'type': 'Adam'}), 'train: optim_g: lr: is missing'),
    (dict(train__optim_g={'type': 'LBFGS', 'lr': 1}), 'train: optim_g: LBFGS evaluates the loss several times'),
    (dict(train__precision='half'), "train: precision: 'half' is not one of fp32, bf16, fp16"),
    (dict(train__grad_clip={'norm': 1, 'value': 1}), 'train: grad_clip: give one of norm, value and adjustable'),
    (dict(train__grad_clip={'nrm': 1}), 'train: grad_clip: nrm: unknown option; closest match: norm'),
    (dict(train__grad_clip=0.5), 'train: grad_clip: 0.5 is not a block of options'),
    (dict(train__grad_clip={'norm': -1}), 'train: grad_clip: norm: -1 is not a number > 0'),
    (dict(train__grad_clip={'norm': 1}, train__use_grad_clip=True), 'grad_clip: conflicts with use_grad_clip'),
    (dict(train__compile='nobody'), "train: compile: 'nobody' is not a torch.compile backend"),
    (dict(train__keep_last=0), 'train: keep_last: 0 is not an integer >= 1'),
    (dict(train__total_iter='many'), "train: total_iter: 'many' is not an integer >= 1"),
    (dict(logger__print_freq=0), 'logger: print_freq: 0 is not an integer >= 1'),
    (dict(val__val_freq=0), 'val: val_freq: 0 is not an integer >= 1'),
    (dict(val__save_img=None, val__save_image=True), 'val: save_img: is missing; closest match: save_image'),
    (dict(val__save_img='maybe'), "val: save_img: 'maybe' is not true or false"),
    (dict(val__max_images=0), 'val: max_images: 0 is not an integer >= 1'),
    (dict(val__tile=64, val__tile_overlap=40), 'val: tile_overlap: 40 is more than half of tile: 64'),
    (dict(path__pretrain_network_g='net.onnx'), 'path: pretrain_network_g: net.onnx is an exported network, which'),
    (dict(datasets__val_2__name='v1'),
     "datasets: val_2: name: 'v1' is already used by val_1; use unique dataset names"),
    (dict(datasets__vall={'name': 'x'}), 'datasets: vall: unknown dataset; use train, val, val_1'),
    (dict(name='../x'), "name: '../x' is not a valid folder name"),
    (dict(name='x' * 300), 'name: is 300 bytes long, too long'),
    (dict(name=3), 'name: 3 is not a string'),
    (dict(manual_seed=2**40), r'manual_seed: 1099511627776 is not an integer in \[0, '),
    (dict(num_gpu='two'), "num_gpu: 'two' is not an integer >= 0 or auto"),
])  # yapf: disable
def test_mistakes_are_named_with_their_place(changes, message):
    with pytest.raises(UsageError) as error:
        check(**changes)
    lines = str(error.value).splitlines()
    assert any(re.search(message, v) for v in lines), lines
    assert len(lines) <= 2


def test_a_run_stops_with_a_line_for_each_mistake_before_data_is_opened(server, tmp_path):
    write_images(tmp_path)
    (tmp_path / 'pics/train/broken.png').write_bytes(b'no image')
    write_options(tmp_path, options(train__grad_clp={'norm': 1.}, val__ema_decay=0.9))
    assert server.run(tmp_path) == 2
    lines = (tmp_path / 'log').read_text().splitlines()
    text = (tmp_path / 't.yml').read_text().splitlines()
    wanted = [('grad_clp', 'train: grad_clp: unknown option; closest match: grad_clip, use_grad_clip'),
              ('ema_decay: 0.9', 'val: ema_decay: unknown option; belongs in `train:`')]  # yapf: disable
    numbers = [max(i for i, v in enumerate(text, 1) if key in v) for key, _ in wanted]
    assert lines == [f't.yml:{i}: {message}' for i, (_, message) in zip(numbers, wanted)]
    assert not (tmp_path / 'experiments').exists()


def test_a_run_that_diverges_ends_in_one_line(server, tmp_path):
    write_images(tmp_path)
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
