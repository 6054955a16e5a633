"""Which slots of a memory the images of each dataset address, and what reads of other images cost."""
import numpy as np
import torch

from basicsr.data import build_dataset
from ...archs.memory_designs import DegradationMemory, TopKAddressing
from ...errors import UsageError
from ..command import markdown_table
from ..networks import inference_of


@torch.no_grad()
def slot_shares(net, dataset_opts, max_images=None):
    """Mean addressing weights of every slot over the images of each dataset.

    Args:
        net (nn.Module): Network in evaluation mode, with a memory of the designs in ``archs/memory_designs.py``.
        dataset_opts (list[dict]): Validation datasets, as in an option file.
        max_images (int | None): Images of each dataset. Default: None (all).

    Returns:
        dict[str, ndarray]: Module name of an addressing -> mean weights, (datasets, slots); rows sum to 1.

    Raises:
        UsageError: If the network has no such memory.
    """
    modules = {name: m for name, m in net.named_modules() if isinstance(m, TopKAddressing)}
    if not modules:
        raise UsageError('the network has no memory of type degradation, dictionary or centers')
    inference, shares = inference_of(net), {name: [] for name in modules}
    for opt in dataset_opts:
        dataset = build_dataset(dict(opt, phase='val', scale=1))
        count = min(len(dataset), max_images or len(dataset))
        seen = {name: [] for name in modules}
        hooks = [
            m.register_forward_hook(lambda m, args, weight, kept=seen[name]: kept.append(weight.double().mean(0)))
            for name, m in modules.items()
        ]
        try:
            for index in range(count):
                inference(net, dataset[index]['lq'][None])
        finally:
            for hook in hooks:
                hook.remove()
        for name, kept in seen.items():
            shares[name].append(torch.stack(kept).mean(0).cpu().numpy())
    return {name: np.stack(rows) for name, rows in shares.items()}


def told_bits(shares):
    """Mutual information in bits between the dataset of an image and the slot that it addresses.

    Args:
        shares (ndarray): (datasets, slots), rows sum to 1; all datasets are taken as equally frequent.

    Returns:
        float: 0 if all datasets address the slots alike, at most log2 of the number of datasets.
    """

    def entropy(p):
        return -np.sum(p * np.log2(np.where(p > 0, p, 1)), axis=-1)

    return float(entropy(shares.mean(0)) - entropy(shares).mean())


@torch.no_grad()
def exchanged_psnr(net, dataset_opts, max_images=None):
    """PSNR of images that read what other images address.

    The images of one index, one of each dataset, must have the same size. They are restored together; each then reads
    what the image of another dataset addresses.

    Args:
        net (nn.Module): Network in evaluation mode, with a degradation memory.
        dataset_opts (list[dict]): Validation datasets, as in an option file.
        max_images (int | None): Images of each dataset. Default: None (all).

    Returns:
        ndarray: (datasets, datasets), mean PSNR in dB of unclipped results; row: dataset of the image, column: dataset
        whose addressing it reads. The diagonal is the PSNR of the network as it is.

    Raises:
        UsageError: If the network has no degradation memory.
    """
    memory = next((m for m in net.modules() if isinstance(m, DegradationMemory)), None)
    if memory is None:
        raise UsageError('the network has no memory of type degradation, whose addressing could be exchanged')
    inference, datasets = inference_of(net), [build_dataset(dict(v, phase='val', scale=1)) for v in dataset_opts]
    size, count = len(datasets), min(*map(len, datasets), max_images or len(datasets[0]))
    total = np.zeros((size, size))
    for index in range(count):
        samples = [v[index] for v in datasets]
        lq, gt = (torch.stack([v[key] for v in samples]) for key in ('lq', 'gt'))
        for shift in range(size):  # image i reads what image i + shift addresses; an image has a row for each tile

            def exchange(module, args, weight, shift=shift):
                return weight.view(size, -1, weight.shape[1]).roll(-shift, 0).flatten(0, 1)

            hook = memory.addressing.register_forward_hook(exchange)
            try:
                error = (inference(net, lq).double() - gt).square().flatten(1).mean(1)
            finally:
                hook.remove()
            total[np.arange(size), (np.arange(size) + shift) % size] -= 10 * np.log10(error.cpu().numpy())
    return total / count


def slot_table(names, shares):
    """Markdown table of :func:`slot_shares` of one addressing: percent for each dataset (names) and slot."""
    rows = [[name, *(f'{100 * v:.0f}' for v in row)] for name, row in zip(names, shares)]
    return markdown_table(['dataset', *map(str, range(shares.shape[1]))], rows)
