"""MixUp of training pairs, under the names of NAFNet's and Restormer's option files."""
import torch

from .options import MixingOptions, MixUpOptions


class MixUp:
    """Mixes each pair of a batch with another: lam * pair_i + (1 - lam) * pair_j, lam ~ Beta(beta, beta).

    mixup: Beyond Empirical Risk Minimization. Ref: https://arxiv.org/abs/1710.09412. Draws from torch's generator,
    whose state is in the checkpoints.

    Args:
        opt (MixUpOptions | dict): Options.
    """

    def __init__(self, opt):
        opt = MixUpOptions.read(opt, 'train')
        mixing = opt.mixing_augs or MixingOptions()
        self.on = mixing.mixup or opt.mixup
        self.beta, self.use_identity = mixing.mixup_beta, mixing.use_identity

    def __call__(self, lq, gt):
        """
        Args:
            lq (Tensor): (n, c, h, w).
            gt (Tensor): (n, c, h * s, w * s).

        Returns:
            tuple[Tensor]: Mixed pairs of the same shapes; the given ones where nothing is mixed.
        """
        if not self.on or (self.use_identity and torch.rand(()) < 0.5):
            return lq, gt
        lam = float(torch.distributions.Beta(self.beta, self.beta).sample())
        other = torch.randperm(len(lq)).to(lq.device)
        return lam * lq + (1 - lam) * lq[other], lam * gt + (1 - lam) * gt[other]
