"""Conversion of the published Caffe weights of MemNet: blobs by layer name to arguments and a state dict.

A blob's name is ``<layer>/<index>``. Each convolution X has the layers ``X`` (weight, bias), ``bn_X`` (mean, variance,
scale factor to divide both by) and ``scale_X`` (gamma, beta). Convolutions that share their weights are
stored once for every use, with equal values.
"""
import numpy as np
import re
import torch

from ..archs.memnet_arch import MemNet
from ..errors import UsageError


def caffe_config(blobs):
    """Derive MemNet's constructor arguments from the blobs.

    Args:
        blobs (dict[str, ndarray]): Blobs by name.

    Raises:
        UsageError: If the blobs that determine them are missing.
    """
    units = [re.fullmatch(r'conv(\d+)_(\d+)_a/0', name) for name in blobs]
    units = [(int(unit[1]), int(unit[2])) for unit in units if unit]
    if not units or np.ndim(blobs.get('conv1/0')) != 4:
        raise UsageError('Caffe blobs: conv1/0 (4 dimensions) or all convMM_RR_a/0 are missing; these are not the '
                         'weights of a published MemNet')
    num_feat, num_in_ch = np.shape(blobs['conv1/0'])[:2]
    return {
        'num_in_ch': num_in_ch,
        'num_feat': num_feat,
        'num_block': max(block for block, _ in units),
        'num_recursion': max(recursion for _, recursion in units),
    }


def caffe_names(num_block, num_recursion):
    """Map our module names to Caffe's: BatchNorms to one name, convolutions to those of all their uses."""
    norms = {'fenet.norm': 'conv1'}
    convs = {'fenet.conv': ['conv1'], 'recon_conv': []}
    for m in range(num_block):
        block, number = f'memory_blocks.{m}', f'{m + 1:02d}'
        for unit in 'ab':
            names = [f'conv{number}_{r + 1:02d}_{unit}' for r in range(num_recursion)]
            norms.update({f'{block}.norm_{unit}.{r}': name for r, name in enumerate(names)})
            convs[f'{block}.conv_{unit}.0'] = names
        norms[f'{block}.gate.norm'] = f'conv_transition_{number}'
        convs[f'{block}.gate.conv'] = [f'conv_transition_{number}']
        norms[f'recon_norms.{m}'] = f'conv_end_{number}'
        convs['recon_conv'].append(f'conv_end_{number}')
    return norms, convs


def convert_caffe_blobs(blobs):
    """Convert the published blobs of a multi-supervised MemNet to arguments and weights of :class:`MemNet`.

    Args:
        blobs (dict[str, ndarray]): Blobs by name.

    Returns:
        tuple[dict, dict[str, Tensor]]: Arguments of MemNet, and its state dict.

    Raises:
        UsageError: If blobs are missing, left over, of another shape or not finite, if a scale factor is 0 or copies
            of a shared convolution differ. Names the blobs.
    """
    config = caffe_config(blobs)
    state = MemNet(**config).state_dict()
    norms, convs = caffe_names(config['num_block'], config['num_recursion'])

    # our key: (names of its blobs, name of the blob to divide by)
    origins = {}
    for ours, name in norms.items():
        origins[f'{ours}.running_mean'] = [f'bn_{name}/0'], f'bn_{name}/2'
        origins[f'{ours}.running_var'] = [f'bn_{name}/1'], f'bn_{name}/2'
        origins[f'{ours}.weight'] = [f'scale_{name}/0'], None
        origins[f'{ours}.bias'] = [f'scale_{name}/1'], None
    for ours, names in convs.items():
        origins[f'{ours}.weight'] = [f'{name}/0' for name in names], None
        origins[f'{ours}.bias'] = [f'{name}/1' for name in names], None
    ensemble = [f'weight_output_end_{m + 1:02d}/0' for m in range(config['num_block'])]

    shapes = {name: tuple(state[key].shape) for key, (names, _) in origins.items() for name in names}
    shapes.update(dict.fromkeys(ensemble + [divisor for _, divisor in origins.values() if divisor], (1, )))
    _check(blobs, shapes)

    for key, (names, divisor) in origins.items():
        differing = [name for name in names if not np.array_equal(blobs[name], blobs[names[0]])]
        if differing:
            raise UsageError(f'Caffe blobs: {names[0]} and {differing[0]} differ, but MemNet shares them')
        value = np.asarray(blobs[names[0]], np.float64)
        if divisor:
            value = value / np.asarray(blobs[divisor], np.float64).reshape(())
        state[key] = torch.tensor(value, dtype=torch.float32).reshape(state[key].shape)
    state['ensemble_weight'] = torch.tensor([float(np.reshape(blobs[name], ())) for name in ensemble])
    return config, state


def _check(blobs, shapes):
    problems = {
        'missing': [name for name in shapes if name not in blobs],
        'not part of a MemNet of this size': [name for name in blobs if name not in shapes],
    }
    present = {name: shape for name, shape in shapes.items() if name in blobs}
    # older versions of Caffe store a vector as 1x1x1xC
    problems['of another shape'] = [
        f'{name} {np.shape(blobs[name])}, expected {shape}' for name, shape in present.items()
        if _without_leading_ones(np.shape(blobs[name])) != _without_leading_ones(shape)
    ]
    problems['not finite'] = [name for name in present if not np.isfinite(blobs[name]).all()]
    problems['0, but statistics are divided by it'] = [
        name for name in present if re.fullmatch(r'bn_.*/2', name) and not np.any(blobs[name])
    ]
    problems = [f'{what}: {", ".join(names)}' for what, names in problems.items() if names]
    if problems:
        raise UsageError(f'Caffe blobs do not fit MemNet; {"; ".join(problems)}')


def _without_leading_ones(shape):
    while shape and shape[0] == 1:
        shape = shape[1:]
    return shape
