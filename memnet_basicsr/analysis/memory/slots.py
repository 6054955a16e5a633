"""Which slots of a memory the images of each dataset address."""
import numpy as np
import torch

from basicsr.data import build_dataset
from ...archs.memory_designs import TopKAddressing
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


def slot_table(names, shares):
    """Markdown table of :func:`slot_shares` of one addressing: percent for each dataset (names) and slot."""
    rows = [[name, *(f'{100 * v:.0f}' for v in row)] for name, row in zip(names, shares)]
    return markdown_table(['dataset', *map(str, range(shares.shape[1]))], rows)
