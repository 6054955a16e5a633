"""One optimization step: mixed precision, gradient accumulation, clipping, and skipping of non-finite gradients."""
import contextlib
import logging
import math
import torch
from collections import OrderedDict
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import UsageError
from .options import TrainStepOptions

DTYPES = {'fp32': None, 'bf16': torch.bfloat16, 'fp16': torch.float16}


class TrainStep:
    """Computes gradients, clips them and updates the network.

    Args:
        opt (TrainStepOptions | dict): Options. With ``accumulate``, losses must be means over images, so that the
            gradient is that of the whole batch; BatchNorm statistics are those of each part.
        optimizer (Optimizer): The optimizer of the network.
        device (torch.device): Device of the network.
    """

    def __init__(self, opt, optimizer, device):
        self.optimizer = optimizer
        self.device_type = device.type
        opt = TrainStepOptions.read(opt, 'train')
        self.dtype = DTYPES[opt.precision]
        self.accumulate = opt.accumulate
        self.clip = opt.grad_clip.given() if opt.grad_clip else {'norm': 0.01} if opt.use_grad_clip else {}
        self.patience = opt.nonfinite_patience
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.parameters = [p for group in optimizer.param_groups for p in group['params']]
        self.skipped = 0  # in all
        self.skipped_in_a_row = 0
        self.grad_norm = None  # of the last step, before clipping; kept as a tensor to avoid a device sync

    def autocast(self):
        """Context in which the network runs."""
        return torch.autocast(self.device_type, self.dtype, enabled=self.dtype is not None)

    def __call__(self, net, batch, compute_losses, current_iter):
        """Make one step.

        Args:
            net (nn.Module): The network, possibly wrapped in DistributedDataParallel.
            batch (tuple[Tensor]): What ``compute_losses`` takes, first dimension n.
            compute_losses (Callable): (*batch) -> dict of named scalar losses; they are summed.
            current_iter (int): For the log.

        Returns:
            tuple[OrderedDict, bool]: Losses averaged over the parts (detached), and whether the step was made.

        Raises:
            UsageError: ``nonfinite_patience`` steps in a row were not finite.
        """
        self.optimizer.zero_grad(set_to_none=True)
        logged = OrderedDict()
        parts = [batch] if self.accumulate == 1 else list(zip(*(v.chunk(self.accumulate) for v in batch)))
        for k, part in enumerate(parts):
            waits = isinstance(net, DistributedDataParallel) and k + 1 < len(parts)
            with net.no_sync() if waits else contextlib.nullcontext():
                losses = compute_losses(*part)
                total = sum(losses.values())
                # not a number where the loss is not finite, so that this shows in the gradient and in every process
                weight = total.detach() * 0 + 1 / len(parts)
                total.backward(self.scaler.scale(weight))
            for name, value in losses.items():
                logged[name] = logged.get(name, 0) + value.detach() / len(parts)
        return logged, self._update(logged, current_iter)

    def _update(self, losses, current_iter):
        grads = [p.grad for p in self.parameters if p.grad is not None]
        self.scaler.unscale_(self.optimizer)
        self.grad_norm = nn.utils.get_total_norm(grads)
        finite = bool(torch.isfinite(self.grad_norm))
        if finite:
            self._clip()
            self.scaler.step(self.optimizer)
            self.skipped_in_a_row = 0
        scale = self.scaler.get_scale()
        self.scaler.update()
        if not finite:
            self._skip(losses, scale, current_iter)
        return finite

    def _clip(self):
        if 'value' in self.clip:
            nn.utils.clip_grad_value_(self.parameters, self.clip['value'])
        elif self.clip:
            limit = self.clip.get('norm')
            if limit is None:
                limit = self.clip['adjustable'] / max(self.optimizer.param_groups[0]['lr'], 1e-30)
            nn.utils.clip_grads_with_norm_(self.parameters, limit, self.grad_norm)

    def _skip(self, losses, scale, current_iter):
        logger = logging.getLogger('basicsr')
        if scale > self.scaler.get_scale() and scale > 1 and all(math.isfinite(v) for v in losses.values()):
            # fp16 looks for its largest scale in this way
            logger.info(f'iter {current_iter}: the loss scale falls from {scale:g} to {self.scaler.get_scale():g}')
            return
        self.skipped += 1
        self.skipped_in_a_row += 1
        text = ', '.join(f'{name} {float(value):.3e}' for name, value in losses.items())
        logger.warning(f'iter {current_iter}: the gradient is not finite ({text}); the step is skipped '
                       f'({self.skipped_in_a_row} in a row, {self.skipped} in all)')
        if self.skipped_in_a_row >= self.patience:
            raise UsageError(f'iter {current_iter}: {self.skipped_in_a_row} steps in a row were not finite ({text}): '
                             'lower the learning rate, clip gradients (train: grad_clip) or use bf16 or fp32')

    def state_dict(self):
        """State that a resumed run needs, plain values."""
        return dict(scaler=self.scaler.state_dict(), skipped=self.skipped, skipped_in_a_row=self.skipped_in_a_row)

    def load_state_dict(self, state):
        """Restore a saved state."""
        if self.scaler.is_enabled() and state['scaler']:
            self.scaler.load_state_dict(state['scaler'])
        self.skipped, self.skipped_in_a_row = state['skipped'], state['skipped_in_a_row']
