"""Wrong option files and the line that each of them gets, without the file's name."""
import copy
import yaml

BASE = {
    'name': 'tiny',
    'model_type': 'RestorationModel',
    'scale': 1,
    'num_gpu': 0,
    'manual_seed': 0,
    'datasets': {
        'train': {
            'name': 'a', 'type': 'NoisyImageDataset', 'dataroot_gt': 'pics', 'io_backend': {'type': 'disk'},
            'sigma': 50, 'gt_size': 12, 'use_hflip': True, 'use_rot': True, 'num_worker_per_gpu': 0,
            'batch_size_per_gpu': 2
        },
        'val': {
            'name': 'v', 'type': 'NoisyImageDataset', 'dataroot_gt': 'pics', 'io_backend': {'type': 'disk'}, 'sigma': 50
        },
    },
    'network_g': {'type': 'MemNet', 'num_in_ch': 1, 'num_feat': 4, 'num_block': 1, 'num_recursion': 1},
    'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
    'train': {
        'optim_g': {'type': 'Adam', 'lr': 0.001},
        'scheduler': {'type': 'TrueCosineAnnealingLR', 'T_max': 20},
        'total_iter': 20,
        'warmup_iter': 2,
        'pixel_opt': {'type': 'MultiSupervisedLoss', 'loss_weight': 1.0}
    },
    'val': {'val_freq': 10, 'save_img': False, 'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0}}},
    'logger': {'print_freq': 1, 'save_checkpoint_freq': 10, 'use_tb_logger': False},
}  # yapf: disable
TEXT = yaml.safe_dump(BASE, sort_keys=False)
BASE_NETWORK = yaml.safe_dump({'network_g': BASE['network_g']}, sort_keys=False)
MEMORYNET = {'type': 'MemoryNet', 'num_in_ch': 1, 'num_out_ch': 1, 'num_feat': 4, 'scale_unetfeats': 2, 'num_cab': 1}
EDSR = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 1}


def changed(place, value):
    """BASE as YAML text with one option changed; ``...`` removes it."""
    opt = copy.deepcopy(BASE)
    *blocks, key = place.split('/')
    block = opt
    for name in blocks:
        block = block[name]
    if value is ...:
        del block[key]
    else:
        block[key] = value
    return yaml.safe_dump(opt, sort_keys=False)


def replaced(old, new):
    """BASE as YAML text with a part of the text replaced."""
    assert old in TEXT, old
    return TEXT.replace(old, new, 1)


BOMB = 'a: &a [x, x, x, x, x, x, x, x, x]\n' + ''.join(f'{key}: &{key} [{", ".join(["*" + before] * 9)}]\n'
                                                       for before, key in zip('abcdefgh', 'bcdefghi'))

# whole files: content, line
FILES = {
    'empty': ('', '1: holds no options; write `key: value` lines'),
    'comment only': ('# nothing\n', '1: holds no options'),
    'words': ('just words\n', '1: holds no options'),
    'list': ('- a\n- b\n', '1: holds no options'),
    'binary': (b'\x89PNG\r\n\x1a\n\xff\xfe\x00', '1: invalid YAML: not UTF-8 text'),
    'control characters': ('name: \x00\x01\n', '1: invalid YAML'),
    'tab': ('name: a\ndatasets:\n\ttrain: 1\n', '3: invalid YAML: tab character; indent with spaces'),
    'open bracket': ('name: a\nscale: [1\ntrain: 2\n', '3: invalid YAML'),
    'two documents': (TEXT + '---\nname: b\n', f'{TEXT.count(chr(10)) + 1}: invalid YAML'),
    'unknown alias': ('name: *nobody\n', '1: invalid YAML: found undefined alias'),
    'deep nesting': ('a: ' + '[' * 500000, '1: nested more than 20 levels deep'),
    'deep block': ('\n'.join(' ' * i + f'k{i}:' for i in range(30)) + '\n', '21: nested more than 20 levels deep'),
    'too large': ('a: ' + 'x' * (1 << 20) + '\n', '1: larger than 1 MB'),
    'alias bomb': (BOMB, '1: aliases expand to more than 20000 options'),
    'alias of itself': ('name: &a [*a]\n', '1: aliases expand to more than 20000 options'),
    'python object': ('name: !!python/object/apply:os.system ["touch gone"]\n',
        '1: the tag !!python/object/apply:os.system '
                      'runs code'),
    'python object as a key': ('? !!python/object/apply:os.system ["touch gone"]\n: 1\nname: a\n',
                               '1: the tag !!python/object/apply:os.system runs code'),
    'python object in a key': ('? [a, !!python/object/apply:os.system ["touch gone"]]\n: 1\nname: a\n',
                               '1: the tag !!python/object/apply:os.system runs code'),
    'python object in a set': ('name: !!set {? !!python/object/apply:os.system ["touch gone"]}\n',
                               '1: the tag !!python/object/apply:os.system runs code'),
    'python object as the file': ('!!python/object/apply:os.system\nargs: ["touch gone"]\nname: a\n',
                                  '1: the tag !!python/object/apply:os.system runs code'),
    'python object in a merge': ('name: a\n<<: !!python/object/apply:os.system ["touch gone"]\n',
                                 '2: the tag !!python/object/apply:os.system runs code'),
    'python object given twice': ('name: a\nname: !!python/object/apply:os.system ["touch gone"]\n',
                                  '2: the tag !!python/object/apply:os.system runs code'),
    'python name': ('name: !!python/name:os.system\n', '1: the tag !!python/name:os.system runs code'),
}  # yapf: disable

# one change of BASE: text, part of the message (block: key: ...)
CHANGES = {
    'tag of another kind': (replaced('name: tiny', 'name: !mine tiny'), 'name: the tag !mine is not supported'),
    'number that is none': (replaced('lr: 0.001', 'lr: !!float abc'),
        "train: optim_g: lr: 'abc' is not a value of !!float"),
    'number of 5000 digits': (replaced('scale: 1\n', 'scale: 0x' + 'f' * 5000 + '\n'),
        "scale: '0xfff"),
    'duplicate key': (replaced('scale: 1\n', 'scale: 1\nscale: 2\n'),
        'scale: duplicate key, first on line 3; remove one'),
    'duplicate key in a block': (replaced('  total_iter: 20\n', '  total_iter: 20\n  total_iter: 30\n'),
                                 'train: total_iter: duplicate key'),
    'merge key': (replaced('scale: 1\n', 'scale: 1\n<<: {a: 1}\n'), '<<: BasicSR does not merge blocks'),
    'key that is no text': (replaced('scale: 1\n', 'scale: 1\n[a]: 1\n'), 'key is not a string'),
    'number as text': (replaced('lr: 0.001', 'lr: 1e-3'),
        "train: optim_g: lr: '1e-3' is a string in YAML; write !!float 1e-3"),
    'number in quotes': (replaced('total_iter: 20', "total_iter: '20'"),
        "train: total_iter: '20' is a string in YAML; write 20"),
    'milestones as text': (changed('train/scheduler', {'type': 'MultiStepLR', 'milestones': '5, 10'}),
                           "train: scheduler: milestones: '5, 10' is not a list of integers"),
    'crop_border negative': (changed('val/metrics/psnr/crop_border', -1),
        'psnr: crop_border: -1 is not an integer >= 0'),
    'name with a path': (changed('name', '../../x'), "name: '../../x' is not a valid folder name"),
    'name empty': (changed('name', ''), "name: '' is not a valid folder name"),
    'name slash': (changed('name', '/'), "name: '/' is not a valid folder name"),
    'name number': (changed('name', 7), 'name: 7 is not a string'),
    'name long': (changed('name', 'x' * 300), 'name: is 300 bytes long, too long'),
    'lr 0': (changed('train/optim_g/lr', 0), 'train: optim_g: lr: 0 is not a number > 0'),
    'save_img maybe': (changed('val/save_img', 'maybe'), "val: save_img: 'maybe' is not true or false"),
    'strict_load_g x': (changed('path/strict_load_g', 'x'), "path: strict_load_g: 'x' is not true or false"),
    'warmup beyond the run': (changed('train/warmup_iter', 30), 'train: warmup_iter: 30 must be below total_iter: 20'),
    'batch 0': (changed('datasets/train/batch_size_per_gpu', 0), 'batch_size_per_gpu: 0 is not an integer >= 1'),
    'batch -1': (changed('datasets/train/batch_size_per_gpu', -1), 'batch_size_per_gpu: -1 is not an integer >= 1'),
    'batch 2.5': (changed('datasets/train/batch_size_per_gpu', 2.5),
        'batch_size_per_gpu: 2.5 is not an integer >= 1'),
    'batch text': (changed('datasets/train/batch_size_per_gpu', 'big'),
        "batch_size_per_gpu: 'big' is not an integer"),
    'batch true': (changed('datasets/train/batch_size_per_gpu', True),
        'batch_size_per_gpu: true is not an integer'),
    'workers -1': (changed('datasets/train/num_worker_per_gpu', -1),
        'num_worker_per_gpu: -1 is not an integer >= 0'),
    'dataroot list': (changed('datasets/train/dataroot_gt', ['a']), "dataroot_gt: ['a'] is not a string"),
    'metrics list': (changed('val/metrics', ['psnr']), "val: metrics: ['psnr'] is not a block of options"),
    'metric without type': (changed('val/metrics/psnr', {'crop_border': 0}), 'val: metrics: psnr: type: is missing'),
    'loss weight text': (changed('train/pixel_opt/loss_weight', 'high'),
        "pixel_opt: loss_weight: 'high' is not a number"),
    'unknown reduction': (changed('train/pixel_opt', {'type': 'MultiOutputLoss', 'losses': [
        {'type': 'L1Loss', 'reduction': 'median'}]}),
        'train: pixel_opt: Unsupported reduction mode: median'),
    'no loss': (changed('train/pixel_opt', ...), 'train: pixel_opt: is missing'),
    'loss of one output': (changed('train/pixel_opt', {'type': 'L1Loss'}),
        'train: pixel_opt: type: L1Loss takes one output'),
    'color network on gray data': (changed('network_g/num_in_ch', 3),
                                    'network_g: num_in_ch: 3 channels, but datasets: train gives 1'),
    'network argument of a wrong kind': (changed('network_g/num_feat', 'wide'),
        "network_g: num_feat: 'wide' is not a number"),
    'network argument out of range': (changed('network_g/supervise', 'some'),
        "network_g: supervise: supervise must be 'all' or 'final'"),
    'size of a network of BasicSR': (changed('network_g', {**EDSR, 'num_feat': -3}),
        'network_g: Trying to create tensor with negative dimension'),
    'argument of a network of BasicSR': (changed('network_g', {**EDSR, 'upscale': 5}),
        'network_g: scale 5 is not supported'),
    'color network of BasicSR on gray data': (changed('network_g', EDSR),
        'network_g: patches of datasets: train are 1 x 12 x 12, clean 1 x 12 x 12; EDSR returns 3 x 12 x 12'),
    'network that upscales': (changed('network_g', {**EDSR, 'upscale': 2}),
        'network_g: patches of datasets: train are 1 x 12 x 12, clean 1 x 12 x 12; EDSR returns 3 x 24 x 24'),
    'network that cannot process patches': (changed('network_g', {**EDSR, 'num_in_ch': 4}),
        'EDSR cannot process them: '),
    'num_gpu -1': (changed('num_gpu', -1), 'num_gpu: -1 is not an integer >= 0 or auto'),
    'num_gpu text': (changed('num_gpu', 'all'), "num_gpu: 'all' is not an integer >= 0 or auto"),
    'seed text': (changed('manual_seed', 'x'), "manual_seed: 'x' is not an integer"),
    'seed -1': (changed('manual_seed', -1), 'manual_seed: -1 is not an integer in [0, '),
    'seed 2**40': (changed('manual_seed', 2**40), 'manual_seed: 1099511627776 is not an integer in [0, '),
    'seed 1.5': (changed('manual_seed', 1.5), 'manual_seed: 1.5 is not an integer'),
    'set without name': (changed('datasets/val/name', ...), 'datasets: val: name: is missing'),
    'set without type': (changed('datasets/val/type', ...), 'datasets: val: type: is missing'),
    'phase vall': (changed('datasets/vall', {'name': 'x'}), 'datasets: vall: unknown dataset; use train, val, val_1'),
    'compile backend': (changed('train/compile', 'nothing'),
        "train: compile: 'nothing' is not a torch.compile backend"),
    'mixing_augs text': (changed('train/mixing_augs', 'yes'), "train: mixing_augs: 'yes' is not a block of options"),
    'reconstruction without its layers': (TEXT.replace('RestorationModel', 'MemoryNetModel').replace(
        'pixel_opt', 'reconstruction_opt: {type: MSELoss}\n  pixel_opt').replace(
        BASE_NETWORK, yaml.safe_dump({'network_g': MEMORYNET})),
        'network_g: train: reconstruction_opt needs the layers of the reconstruction; set reconstruction: true'),
    'GAN without discriminator': (changed('model_type', 'SRGANModel'),
        'network_d: is missing; SRGANModel trains against'),
    'optimizer that SRModel does not build': (TEXT.replace('RestorationModel', 'SRModel').replace('Adam', 'NAdam'),
        "train: optim_g: type: BasicSR's models do not build 'NAdam'; use Adam"),
    'schedule that SRModel does not build': (TEXT.replace('RestorationModel', 'SRModel'),
        "train: scheduler: type 'TrueCosineAnnealingLR' is unknown"),
    'unknown model': (changed('model_type', 'RestorationModl'),
        "model_type: 'RestorationModl' is not registered; closest match: RestorationModel"),
    'unknown network': (changed('network_g/type', 'Memnet'),
        "network_g: type: 'Memnet' is not registered; closest match: MemNet"),
    'unknown dataset': (changed('datasets/val/type', 'NoisyImages'),
        "datasets: val: type: 'NoisyImages' is not registered"),
    'unknown loss': (changed('train/pixel_opt/type', 'MultiLoss'),
        "train: pixel_opt: type: 'MultiLoss' is not registered"),
    'unknown metric': (changed('val/metrics/psnr/type', 'psnr'), "val: metrics: psnr: type: 'psnr' is not registered"),
    'unknown network block': (changed('network_d', {'type': 'MemNet'}),
        'network_d: is not used by RestorationModel'),
    'option of val in train': (changed('train/tile', 64), 'train: tile: unknown option; belongs in `val:`'),
    'option of optim_g in train': (changed('train/lr', 1), 'train: lr: unknown option; belongs in `train: optim_g:`'),
    'option of train in val': (changed('val/ema_decay', 0.9), 'val: ema_decay: unknown option; belongs in `train:`'),
    'typo': (changed('logger/print_frq', 1), 'logger: print_frq: unknown option; closest match: print_freq'),
    'block is a number': (changed('train', 3), 'train: must be a block of options'),
    'block is missing': (changed('logger', ...), 'logger: is missing'),
    'rate of no parameter': (changed('train/optim_g/lr_mult', {'memory.*': 10, '*': 1}),
        "train: optim_g: lr_mult: 'memory.*' matches no trainable parameter"),
    'set is a list': (changed('datasets', []), 'datasets: must be a block of options'),
    'gt_size empty': (changed('datasets/train/gt_size', None), 'datasets: train: gt_size: is missing'),
    'sigma nan': (changed('datasets/train/sigma', float('nan')), 'datasets: train: sigma: nan is not a number >= 0'),
    'io_backend': (changed('datasets/train/io_backend', {'type': 'petrel'}),
        "io_backend: type: 'petrel' is not one of lmdb, "
                   'disk'),
}  # yapf: disable
