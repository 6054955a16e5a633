"""The state of all global random generators, as tensors and plain values."""
import numpy as np
import random
import torch


def get_random_state():
    """States of the generators of ``random``, ``numpy.random`` and ``torch`` (CPU and GPUs) of this process.

    Returns:
        dict: Tensors and plain values.
    """
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    return {
        'python': [version, torch.tensor(words, dtype=torch.int64), gauss],
        'numpy': [name, torch.from_numpy(keys.astype(np.int64)),
                  int(position),
                  int(has_gauss),
                  float(cached)],
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def set_random_state(state):
    """Restore states from :func:`get_random_state`; those of GPUs only if the number of GPUs has not changed."""
    version, words, gauss = state['python']
    random.setstate((version, tuple(words.tolist()), gauss))
    name, keys, position, has_gauss, cached = state['numpy']
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state['torch'])
    if len(state['cuda']) == (torch.cuda.device_count() if torch.cuda.is_available() else 0):
        torch.cuda.set_rng_state_all(state['cuda'])
