import torch

import memnet_basicsr  # noqa: F401  (before any import of basicsr)

torch.set_num_threads(1)
