"""MixUp of training pairs, under the names of NAFNet's and Restormer's option files."""
import torch


class MixUp:
    """Mixes each pair of a batch with another: lam * pair_i + (1 - lam) * pair_j, lam ~ Beta(beta, beta).

    mixup: Beyond Empirical Risk Minimization. Ref: https://arxiv.org/abs/1710.09412. Draws from torch's generator,
    whose state is in the checkpoints.

    Args:
        opt (dict): The ``train:`` block. Read here:
            mixing_augs (dict): ``mixup`` (bool), ``mixup_beta`` (float, default 1.2) and ``use_identity`` (bool: leave
                every second batch, at random, as it is; default false), as in Restormer. Default: none.
            mixup (bool): NAFNet's short form. Default: False.
    """

    def __init__(self, opt):
        mixing = opt.get('mixing_augs') or {}
        self.on = bool(mixing.get('mixup') or opt.get('mixup'))
        self.beta = mixing.get('mixup_beta', 1.2)
        self.use_identity = mixing.get('use_identity', False)

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
