import math
import torch
from torch.optim import Optimizer


def orthogonalize(matrices, steps=5):
    """Approximate the nearest semi-orthogonal matrix, U V^T of the singular value decomposition U S V^T.

    Quintic Newton-Schulz iteration X <- a X + (b A + c A^2) X with A = X X^T, started from X / ||X||_F. Its
    coefficients bring all singular values close to 1 (roughly [0.7, 1.2]) in five steps.

    Args:
        matrices (Tensor): (N, rows, columns).
        steps (int): Iterations. Default: 5.

    Returns:
        Tensor: As ``matrices``, float32.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.float()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / x.flatten(1).norm(dim=1).clamp_min(1e-7).view(-1, 1, 1)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + torch.baddbmm(gram, gram, gram, beta=b, alpha=c) @ x
    return x.mT if tall else x


class Muon(Optimizer):
    """Muon for matrices, AdamW for everything else, in one optimizer (https://kellerjordan.github.io/posts/muon).

    The Nesterov momentum of a weight is orthogonalized (:func:`orthogonalize`) before it is applied. A convolution
    counts as its (out, in * k * k) matrix. Vectors and scalars (biases, BatchNorm), and weights with a single input or
    output channel, take AdamW steps. ``torch.optim.Muon`` accepts 2-D parameters only.

    - Muon: W <- (1 - lr * weight_decay) W - lr * muon_lr_mult * sqrt(max(1, rows / columns)) * orthogonalize(momentum)
    - AdamW: as ``torch.optim.AdamW`` with learning rate ``lr``.

    Args:
        params (iterable): Parameters or groups of them. A group's ``lr`` applies to both kinds of step.
        lr (float): Learning rate of the AdamW steps. Default: 2e-3.
        muon_lr_mult (float): Factor on ``lr`` for the Muon steps. Default: 10.
        momentum (float): Momentum of the Muon steps, in [0, 1). Default: 0.95.
        betas (tuple[float]): Averaging factors of the AdamW steps. Default: (0.9, 0.99).
        eps (float): Added to AdamW's denominator. Default: 1e-8.
        weight_decay (float): Decoupled weight decay of both. Default: 0.

    Raises:
        ValueError: If an argument is outside its range.
    """

    def __init__(self, params, lr=2e-3, muon_lr_mult=10, momentum=0.95, betas=(0.9, 0.99), eps=1e-8, weight_decay=0):
        for name, value in (('learning rate', lr), ('muon_lr_mult', muon_lr_mult), ('weight_decay', weight_decay)):
            if value < 0:
                raise ValueError(f'Invalid {name}: {value}')
        for name, value in (('momentum', momentum), *(('betas', beta) for beta in betas)):
            if not 0 <= value < 1:
                raise ValueError(f'Invalid {name}: {value}; use a value in [0, 1)')
        super().__init__(
            params,
            dict(
                lr=lr,
                muon_lr_mult=muon_lr_mult,
                momentum=momentum,
                betas=tuple(betas),
                eps=eps,
                weight_decay=weight_decay))

    @torch.no_grad()
    def step(self, closure=None):
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            params = [p for p in group['params'] if p.grad is not None]
            if params:
                torch._foreach_mul_(params, 1 - group['lr'] * group['weight_decay'])
            self._muon_step(group, [p for p in params if takes_muon(p)])
            self._adam_step(group, [p for p in params if not takes_muon(p)])
        return loss

    def _muon_step(self, group, params):
        updates = {}  # weights of one shape are orthogonalized together
        for p in params:
            momentum = self.state[p].setdefault('momentum', torch.zeros_like(p))
            momentum.lerp_(p.grad, 1 - group['momentum'])
            update = p.grad.lerp(momentum, group['momentum']).flatten(1)
            updates.setdefault(update.shape, []).append((p, update))
        for (rows, columns), pairs in updates.items():
            size = group['lr'] * group['muon_lr_mult'] * math.sqrt(max(1, rows / columns))
            for (p, _), update in zip(pairs, orthogonalize(torch.stack([update for _, update in pairs]))):
                p.sub_(update.view_as(p).to(p.dtype), alpha=size)

    def _adam_step(self, group, params):
        beta1, beta2 = group['betas']
        for p in params:
            state = self.state[p]
            if not state:
                state.update(step=0, exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
            state['step'] += 1
            state['exp_avg'].lerp_(p.grad, 1 - beta1)
            state['exp_avg_sq'].mul_(beta2).addcmul_(p.grad, p.grad, value=1 - beta2)
            denominator = (state['exp_avg_sq'] / (1 - beta2**state['step'])).sqrt_().add_(group['eps'])
            p.addcdiv_(state['exp_avg'], denominator, value=-group['lr'] / (1 - beta1**state['step']))


def takes_muon(p):
    """Whether :class:`Muon` takes orthogonalized steps for a parameter: a matrix with more than one row and column."""
    return p.ndim >= 2 and p.shape[0] > 1 and p.shape[1] > 1
