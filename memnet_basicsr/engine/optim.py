"""Optimizers and learning rate schedules by name."""
import fnmatch
import inspect
import math
import torch
import warnings
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler

from basicsr.models.lr_scheduler import CosineAnnealingRestartLR, MultiStepRestartLR
from ..errors import UsageError, near
from .muon import Muon


class CosineAnnealingRestartCyclicLR(LRScheduler):
    """Cosine annealing in cycles, each with its own last learning rate, as Restormer's option files use it.

    Args:
        optimizer (Optimizer): The optimizer.
        periods (list[int]): Length of each cycle in iterations.
        restart_weights (list[float]): Factor on the learning rate of each cycle. Default: [1].
        eta_mins (list[float]): Last learning rate of each cycle. Default: [0].
        last_epoch (int): Iteration to start from. Default: -1.
    """

    def __init__(self, optimizer, periods, restart_weights=(1, ), eta_mins=(0, ), last_epoch=-1):
        if not len(periods) == len(restart_weights) == len(eta_mins):
            raise UsageError(f'train: scheduler: {len(periods)} periods, {len(restart_weights)} restart_weights and '
                             f'{len(eta_mins)} eta_mins; give the same number of each')
        self.periods, self.restart_weights, self.eta_mins = periods, restart_weights, eta_mins
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        start, cycle = 0, 0
        while cycle + 1 < len(self.periods) and self.last_epoch > start + self.periods[cycle]:
            start += self.periods[cycle]
            cycle += 1
        period, weight, eta_min = self.periods[cycle], self.restart_weights[cycle], self.eta_mins[cycle]
        factor = (1 + math.cos(math.pi * min((self.last_epoch - start) / period, 1))) / 2
        return [eta_min + weight * (lr - eta_min) * factor for lr in self.base_lrs]


SCHEDULERS = {
    'MultiStepLR': MultiStepRestartLR,
    'MultiStepRestartLR': MultiStepRestartLR,
    'CosineAnnealingRestartLR': CosineAnnealingRestartLR,
    'CosineAnnealingRestartCyclicLR': CosineAnnealingRestartCyclicLR,
    'TrueCosineAnnealingLR': CosineAnnealingLR,  # NAFNet's name
}

# entries of parameter groups that torch adds from version to version
_NO_HYPERPARAMETERS = ('initial_lr', 'foreach', 'maximize', 'capturable', 'differentiable', 'fused',
                       'decoupled_weight_decay')  # yapf: disable

_UNFIT = {
    'LBFGS': 'evaluates the loss several times in one step',
    'SparseAdam': 'takes sparse gradients only',
}


def optimizers():
    """Optimizers that option files can use.

    Returns:
        dict[str, type]: Name -> class.
    """
    known = {
        name: cls
        for name, cls in vars(torch.optim).items()
        if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and cls is not torch.optim.Optimizer
    }
    return {**known, 'Muon': Muon}  # torch's own takes no convolutions


def build_optimizer(optim_type, params, lr, **kwargs):
    """Build an optimizer of ``torch.optim``, or :class:`Muon`, by name.

    Args:
        optim_type (str): Name of the class, for example 'AdamW'.
        params (list): Parameters or groups of them.
        lr (float): Learning rate.
        kwargs: Its other arguments (``fused: true`` where torch has it).

    Returns:
        Optimizer: The optimizer.

    Raises:
        UsageError: No such optimizer, it does not take these arguments, or it cannot train a network in this way.
    """
    cls = _find(optim_type, optimizers())
    if optim_type in _UNFIT:
        raise UsageError(f'{optim_type} {_UNFIT[optim_type]}; use another optimizer')
    try:
        return cls(params, lr=lr, **kwargs)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f'{optim_type}: {error}') from None


def build_scheduler(scheduler_type, optimizer, **kwargs):
    """Build a learning rate schedule by name (see ``SCHEDULERS``), stepped once per iteration.

    Raises:
        UsageError: No such schedule, or it does not take these arguments.
    """
    cls = _find(scheduler_type, SCHEDULERS, 'train: scheduler: ')
    try:
        return cls(optimizer, **kwargs)
    except (TypeError, AssertionError) as error:
        raise UsageError(f'train: scheduler: {scheduler_type}: {error}') from None


def parameter_groups(net, bias_lr_mult, lr, lr_mult=None):
    """Trainable parameters in groups of one learning rate.

    Args:
        net (nn.Module): The network.
        bias_lr_mult (float): Factor on the learning rate of the biases of convolutions (0.1 in MemNet's released
            definition).
        lr (float): Learning rate.
        lr_mult (dict[str, float] | None): Shell pattern of parameter names -> factor; the first one that matches
            applies. Default: None.

    Returns:
        list[dict]: Groups, in the order of their first parameter.

    Raises:
        UsageError: A pattern applies to no trainable parameter.
    """
    biases = {id(m.bias) for m in net.modules() if isinstance(m, torch.nn.modules.conv._ConvNd) and m.bias is not None}
    trainable = {name: param for name, param in net.named_parameters() if param.requires_grad}
    lr_mult, groups, used = lr_mult or {}, {}, set()
    for name, param in trainable.items():
        pattern = next((v for v in lr_mult if fnmatch.fnmatchcase(name, v)), None)
        used.add(pattern)
        factor = lr_mult.get(pattern, 1) * (bias_lr_mult if id(param) in biases else 1)
        groups.setdefault(factor, []).append(param)
    for pattern in lr_mult:
        if pattern not in used:
            raise UsageError(f"lr_mult: '{pattern}' matches no trainable parameter, or only those of "
                             f'earlier patterns{near(pattern, trainable)}')
    return [dict(params=params, lr=lr * factor) for factor, params in groups.items()]


def resume(model, state):
    """Resume the optimizers and schedulers of a BasicSR model.

    Args:
        model (BaseModel): The model, its optimizers and schedules as they were built.
        state (dict): The training state.

    Raises:
        UsageError: The state is of other optimizers.
    """
    optimizers, schedulers = state['optimizers'], state['schedulers']
    if len(optimizers) != len(model.optimizers) or len(schedulers) != len(model.schedulers):
        raise UsageError(f'the training state is of {len(optimizers)} optimizer(s), the run has '
                         f'{len(model.optimizers)}; start a new run from its weights (path: pretrain_network_g)')
    for optimizer, saved in zip(model.optimizers, optimizers):
        resume_optimizer(optimizer, saved)
    for scheduler, saved in zip(model.schedulers, schedulers):
        resume_scheduler(scheduler, saved)


def resume_optimizer(optimizer, state):
    """Load the state and learning rate of a saved optimizer; other hyperparameters come from the option file.

    Args:
        optimizer (Optimizer): Optimizer of the run, as it was built.
        state (dict): Its ``state_dict`` in a training state.

    Raises:
        UsageError: The state is of another optimizer, or of other groups of parameters.
    """
    own = [{k: v for k, v in group.items() if k not in ('params', 'lr')} for group in optimizer.param_groups]
    saved = {k for group in state['param_groups'] for k in group}
    missing = [k for k in own[0] if k not in saved and k not in _NO_HYPERPARAMETERS]
    try:
        if missing:
            raise ValueError(f'it has no {missing[0]}')
        optimizer.load_state_dict(state)
    except ValueError as error:
        raise UsageError(f'the training state does not fit optimizer {type(optimizer).__name__} ({error}); start a new '
                         'run from its weights (another name, path: pretrain_network_g)') from None
    for group, hyperparameters in zip(optimizer.param_groups, own):
        group.update(hyperparameters)


def resume_scheduler(scheduler, state):
    """Go on with a schedule, or with the schedule of the option file at the same iteration if that is another one.

    Args:
        scheduler (LRScheduler): Schedule of the run, as it was built; its optimizer has been resumed.
        state (dict): ``state_dict`` of the schedule in a training state.
    """
    own = scheduler.state_dict()
    fixed = [{k: v for k, v in value.items() if k[0] != '_' and k not in ('last_epoch', 'verbose')}
             for value in (own, state)]  # yapf: disable
    if fixed[0] == fixed[1]:
        scheduler.load_state_dict(state)
        return
    for group, lr in zip(scheduler.optimizer.param_groups, scheduler.get_last_lr()):
        group['lr'] = lr
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # the optimizer made its steps before the state was saved
        for _ in range(state['last_epoch'] - scheduler.last_epoch):  # some schedules have no closed form
            scheduler.step()


def _find(name, known, place=''):
    if name not in known:
        raise UsageError(f"{place}type '{name}' is unknown{near(name, known)}")
    return known[name]
