"""Write an option file for a user's own images: ``memnet options new``."""
import json
import math
import os
import re
from os import path as osp

from ..atomic_file import write_atomically
from ..data.image_source import list_images, read_header
from ..data.lmdb_util import make_key
from ..errors import UsageError
from .option_file import check_file, read_option_file

_NETWORKS = {
    ('MemNet', 'small'): ('num_feat: 64\n  num_block: 3\n  num_recursion: 3\n'
                          '  unshuffle: 2  # features at half the size of the image: 4 times faster'),
    ('MemNet', 'full'): 'num_feat: 64\n  num_block: 6\n  num_recursion: 6',
    ('MemoryNet', 'small'): ('num_feat: 16\n  scale_unetfeats: 8\n  scale_orsnetfeats: 8\n  num_cab: 4\n'
                             '  memory: feature\n  memory_opt:\n    centred: true\n  reconstruction: true'),
    ('MemoryNet', 'full'): ('num_feat: 40\n  scale_unetfeats: 20\n  scale_orsnetfeats: 16\n  num_cab: 8\n'
                            '  memory: feature\n  reconstruction: true'),
}  # yapf: disable
# side of a training patch, batch, iterations: for a CPU and for a GPU
_SETTINGS = {
    ('MemNet', 'small'): ((64, 8, 20000), (64, 32, 60000)),
    ('MemNet', 'full'): ((32, 4, 20000), (48, 32, 200000)),
    ('MemoryNet', 'small'): ((64, 4, 10000), (128, 16, 60000)),
    ('MemoryNet', 'full'): ((64, 2, 10000), (128, 8, 200000)),
}
_LEVELS = {
    'denoise': ('NoisyImageDataset', 'sigma_range: [0, 75]  # standard deviation of the noise, on the scale 0..255\n'
                '    clean_prob: 0.05', 'sigma: 25'),
    'jpeg': ('JPEGImageDataset', 'quality_range: [5, 98]\n    clean_prob: 0.05', 'quality: 20'),
    'sr': ('BicubicImageDataset', 'downscale: [2, 3, 4]  # factors; the input is scaled up bicubically first',
           'downscale: 3'),
}  # yapf: disable

_TEMPLATE = """# yaml-language-server: $schema={schema}
# {title}
# Written by `memnet options new`. Train: python -m memnet_basicsr.train -opt {file}
# Resume an interrupted run by adding --auto_resume. Check changes: memnet options check --here {file}
name: {name}
model_type: {model}
scale: 1
num_gpu: auto
manual_seed: 0

datasets:
  train:
    name: train
    type: {dataset}
{roots}    meta_info_file: {train_list}  # {num_train} images
    io_backend:
      type: disk
{train_level}    color: {color}
    gt_size: {patch}  # side of a training patch in pixels
    use_hflip: true
    use_rot: true
    num_worker_per_gpu: {workers}  # of {cores} CPU cores
    batch_size_per_gpu: {batch}
    dataset_enlarge_ratio: {ratio}  # an epoch has about 1000 iterations
    prefetch_mode: ~

  val:
    name: val
    type: {dataset}
{roots}    meta_info_file: {val_list}  # {num_val} images held out for validation
    io_backend:
      type: disk
{val_level}    color: {color}

network_g:
  type: {network}
  num_in_ch: {channels}
{extra_channels}  {arguments}

path:
  pretrain_network_g: ~  # initial weights: bundled name, path or URL
  strict_load_g: true
  resume_state: ~

train:
  precision: {precision}
  ema_decay: 0.999
  ema_warmup: true
  grad_clip:
    norm: 1.0
  optim_g:
    type: {optimizer}
    lr: !!float {lr}
    weight_decay: {weight_decay}
    betas: [0.9, 0.99]
{memory_lr}  scheduler:
    type: CosineAnnealingRestartLR
    periods: [{iterations}]
    eta_min: !!float 1e-6
  total_iter: {iterations}
  warmup_iter: {warmup}
{loss}
val:
  val_freq: {frequency}
  save_img: false
  pbar: true
  metrics:
    psnr:
      type: calculate_psnr
      crop_border: {border}
    ssim:
      type: calculate_ssim
      crop_border: {border}

logger:
  print_freq: 100
  save_checkpoint_freq: {frequency}
  use_tb_logger: false
"""
_LOSSES = {
    'MemNet': ('  pixel_opt:\n    type: MultiSupervisedLoss  # half squared error on every output\n'
               '    loss_weight: 1.0\n'),
    'MemoryNet': ('  pixel_opt:\n    type: MultiOutputLoss  # on the three outputs\n    losses:\n'
                  '      - type: CharbonnierLoss\n        loss_weight: 1.0\n        eps: !!float 1e-6\n'
                  '      - type: EdgeLoss\n        loss_weight: 0.05\n'
                  '  reconstruction_opt:  # clean images are reconstructed from the memory\n    type: MSELoss\n'
                  '    loss_weight: 1.0\n'),
}  # yapf: disable


def write_option_file(task, clean, degraded, size, output, overwrite=False):
    """Write an option file, and beside it the lists of its training and validation images.

    Args:
        task (str): denoise, deblur, sr, jpeg or pairs.
        clean (str): Folder of clean images.
        degraded (str | None): Folder of degraded images of the same names and sizes; for deblur and pairs.
        size (str): 'small' or 'full'.
        output (str): Option file to write.
        overwrite (bool): Whether an existing file may be replaced. Default: False.

    Returns:
        list[str]: What was found and written, one line each.

    Raises:
        UsageError: Folders do not hold what the task needs, or the file exists.
    """
    made_up = task in _LEVELS
    stem, suffix = osp.splitext(osp.basename(output))
    if suffix not in ('.yml', '.yaml') or not re.fullmatch(r'[\w+.-]+', stem):
        raise UsageError(f'-o {output}: use a name of letters, digits, `-`, `_`, `+` or `.` that ends in .yml or .yaml')
    if osp.lexists(output) and not overwrite:
        raise UsageError(f'-o {output}: already exists; use --overwrite to replace it')
    if made_up and degraded:
        raise UsageError(f'--degraded: {task} makes degraded images from clean ones; use --task pairs for your own')
    if not made_up and not degraded:
        raise UsageError(f'--degraded is missing: {task} needs degraded images of the same names as the clean ones')
    names, shapes = _images(clean)
    if len(names) < 2:
        raise UsageError(f'--clean {clean}: 1 image; at least 2 are needed, one of them for validation')
    if degraded:
        _check_pairs(clean, names, shapes, degraded)
    every = max(2, len(names) // min(20, max(1, len(names) // 10)))
    val = names[every - 1::every][:20]
    train = [v for v in names if v not in set(val)]
    lists = {kind: f'{osp.splitext(osp.abspath(output))[0]}_{kind}.txt' for kind in ('train', 'val')}
    values = _values(task, size, clean, degraded, [shapes[v] for v in names], len(train), len(val))
    values.update(
        schema=osp.relpath(_schema(), osp.dirname(osp.abspath(output)) or '.'),
        file=output, name=stem, num_train=len(train), num_val=len(val),
        train_list=_text(lists['train']), val_list=_text(lists['val']))  # yapf: disable
    for kind, found in (('train', train), ('val', val)):
        write_atomically(lists[kind], ''.join(f'{v}\n' for v in found).encode())
    write_atomically(output, _TEMPLATE.format(**values).encode())
    check_file(read_option_file(output), is_train=True)
    colors = {'rgb': 'color', 'y': 'luminance'}.get(values['color'], 'gray')
    return [f'{clean}: {len(names)} {"pairs" if degraded else "images"}, {colors}; {len(train)} for training, '
            f'{len(val)} for validation',
            f'{values["network"]} ({size}), patch {values["patch"]}, batch {values["batch"]}, {values["iterations"]} '
            f'iterations on {values["device"]}',
            f'wrote {output}; train with: python -m memnet_basicsr.train -opt {output}']  # yapf: disable


def _schema():
    from .option_commands import SCHEMA
    return SCHEMA


def _text(value):
    """Text as YAML."""
    return value if re.fullmatch(r'[\w./+-]+', value) and not value.isdigit() else json.dumps(value, ensure_ascii=False)


def _images(folder):
    """Names of the images in a folder, and their sizes and modes from the headers."""
    folder = osp.expanduser(folder)
    names = list_images(folder)
    return names, {name: read_header(osp.join(folder, name)) for name in names}


def _check_pairs(clean, names, shapes, degraded):
    others, other_shapes = _images(degraded)
    by_key, clean_keys = {make_key(v): v for v in others}, {make_key(v) for v in names}
    missing = [v for v in names if make_key(v) not in by_key]
    surplus = [v for v in others if make_key(v) not in clean_keys]
    for found, folder, other in ((missing, degraded, clean), (surplus, clean, degraded)):
        if found:
            raise UsageError(f'{folder} lacks {len(found)} of the {len(names if other == clean else others)} images of '
                             f'{other}: {", ".join(found[:3])}{", ..." if len(found) > 3 else ""}')  # yapf: disable
    for name in names:
        other = by_key[make_key(name)]
        if shapes[name][:2] != other_shapes[other][:2]:
            (width, height), (other_width, other_height) = shapes[name][:2], other_shapes[other][:2]
            raise UsageError(f'{osp.join(degraded, other)} is {other_width}x{other_height}, its clean image '
                             f'{width}x{height}; both must have the same size')  # yapf: disable


def _values(task, size, clean, degraded, shapes, num_train, num_val):
    import torch
    network = 'MemoryNet' if degraded else 'MemNet'
    gpu = torch.cuda.is_available()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    patch, batch, iterations = _SETTINGS[network, size][gpu]
    smallest, gray = min(min(v[:2]) for v in shapes), all(v[2] for v in shapes)
    patch = max(16, min(patch, smallest // 8 * 8))
    color = 'y' if task == 'sr' else 'gray' if gray else 'rgb'
    dataset, train_level, val_level = _LEVELS.get(task, ('PairedMaskedDataset', '', ''))
    if task == 'jpeg' and gray:
        color = 'y'
    roots = f'    dataroot_gt: {_text(osp.abspath(osp.expanduser(clean)))}\n'
    if degraded:
        roots += f'    dataroot_lq: {_text(osp.abspath(osp.expanduser(degraded)))}\n'
    channels = 3 if color == 'rgb' else 1
    titles = {'denoise': 'Gaussian denoising', 'deblur': 'Deblurring', 'sr': 'Super-resolution', 'jpeg':
              'Removal of JPEG artifacts', 'pairs': 'Restoration from pairs'}  # yapf: disable
    return dict(
        title=f'{titles[task]} with {network} ({size}).', model='MemoryNetModel' if degraded else 'RestorationModel',
        dataset=dataset, roots=roots, color=color, channels=channels, network=network, patch=patch, batch=batch,
        train_level=f'    {train_level}\n' if train_level else '', val_level=f'    {val_level}\n' if val_level else '',
        extra_channels=f'  num_out_ch: {channels}\n' if degraded else '', arguments=_NETWORKS[network, size],
        workers=max(1, min(4, cores - 1)), cores=cores, ratio=max(1, math.ceil(1000 * batch / num_train)),
        precision='bf16' if gpu and torch.cuda.is_bf16_supported() else 'fp32',
        optimizer='Muon' if network == 'MemNet' else 'AdamW', lr='4e-3' if network == 'MemNet' else '2e-4',
        weight_decay='0' if network == 'MemNet' else '!!float 1e-4', iterations=iterations,
        memory_lr='    lr_mult: {memory.*: 10}  # else prototypes hardly move\n' if degraded else '',
        warmup=iterations // 100, frequency=iterations // 10, border=3 if task == 'sr' else 0, loss=_LOSSES[network],
        device=torch.cuda.get_device_name() if gpu else f'{cores} CPU core(s)')  # yapf: disable
