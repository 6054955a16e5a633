import inspect
import math
import pytest
import torch
from torch import nn

from memnet_basicsr.engine.optim import build_optimizer, build_scheduler, parameter_groups
from memnet_basicsr.engine.options import TrainOptions
from memnet_basicsr.errors import UsageError

REFUSED = {'LBFGS': 'evaluates the loss several times', 'SparseAdam': 'sparse gradients only'}
OPTIMIZERS = sorted(
    name for name, cls in vars(torch.optim).items()
    if inspect.isclass(cls) and issubclass(cls, torch.optim.Optimizer) and name not in ('Optimizer', 'Muon'))


@pytest.mark.parametrize('name', OPTIMIZERS)
def test_every_optimizer_by_name(name):
    """It trains a network as PyTorch's own class does, or says why it cannot."""
    nets = []
    for _ in range(2):
        torch.manual_seed(0)
        nets.append(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 1, 3)))
    if name in REFUSED:
        with pytest.raises(UsageError, match=f'{name}.*{REFUSED[name]}'):
            build_optimizer(name, list(nets[0].parameters()), lr=1e-3)
        return
    optimizers = [
        build_optimizer(name, list(nets[0].parameters()), lr=1e-3),
        getattr(torch.optim, name)(nets[1].parameters(), lr=1e-3)
    ]
    start = nets[0][0].weight.clone()
    for _ in range(3):
        for net, optimizer in zip(nets, optimizers):
            optimizer.zero_grad()
            net(torch.ones(1, 1, 6, 6)).square().sum().backward()
            optimizer.step()
    assert not torch.equal(nets[0][0].weight, start)
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters()))


def test_optimizer_arguments():
    net = nn.Linear(2, 2)
    optimizer = build_optimizer('AdamW', net.parameters(), lr=1e-3, fused=True, betas=[0.9, 0.99])
    assert optimizer.defaults['fused'] and tuple(optimizer.defaults['betas']) == (0.9, 0.99)
    with pytest.raises(UsageError, match=r"type 'Adamw' is unknown; closest match: AdamW"):
        build_optimizer('Adamw', net.parameters(), lr=1e-3)
    with pytest.raises(UsageError, match=r"Adam: .*'beta'"):
        build_optimizer('Adam', net.parameters(), lr=1e-3, beta=1)
    with pytest.raises(UsageError, match='Adam: Invalid learning rate: -1'):
        build_optimizer('Adam', net.parameters(), lr=-1)


def rates(scheduler_type, count, lr=0.5, **kwargs):
    optimizer = torch.optim.SGD([{'params': [nn.Parameter(torch.zeros(1))]}], lr)
    scheduler = build_scheduler(scheduler_type, optimizer, **kwargs)
    values = [optimizer.param_groups[0]['lr']]
    for _ in range(count - 1):
        optimizer.step()
        scheduler.step()
        values.append(optimizer.param_groups[0]['lr'])
    return values


def test_true_cosine_is_half_a_cosine():
    expected = [1e-3 + 0.499 * (1 + math.cos(math.pi * t / 30)) / 2 for t in range(31)]
    assert rates('TrueCosineAnnealingLR', 31, lr=0.5, T_max=30, eta_min=1e-3) == pytest.approx(expected, rel=1e-9)


def test_schedules_of_basicsr_and_restormer():
    values = rates('MultiStepLR', 8, lr=1., milestones=[2, 5], gamma=0.5)
    assert values == pytest.approx([1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25])
    values = rates('CosineAnnealingRestartLR', 11, lr=1., periods=[5, 5], restart_weights=[1, 0.5], eta_min=0)
    assert values[:6] == pytest.approx([(1 + math.cos(math.pi * t / 5)) / 2 for t in range(6)])
    assert values[6] == pytest.approx(0.25 * (1 + math.cos(math.pi / 5)))
    values = rates(
        'CosineAnnealingRestartCyclicLR', 11, lr=1., periods=[4, 6], restart_weights=[1, 1], eta_mins=[0.5, 0.1])
    assert values[:5] == pytest.approx([0.5 + 0.5 * (1 + math.cos(math.pi * t / 4)) / 2 for t in range(5)])
    assert values[5] == pytest.approx(0.1 + 0.9 * (1 + math.cos(math.pi / 6)) / 2)
    assert values[10] == pytest.approx(0.1)
    values = rates('CosineAnnealingRestartCyclicLR', 9, periods=[2, 2], restart_weights=[1, 1], eta_mins=[0.2, 0.1])
    assert values[4:] == pytest.approx([0.1] * 5)  # it stays there
    with pytest.raises(UsageError, match='give the same number of each'):
        rates('CosineAnnealingRestartCyclicLR', 1, periods=[4, 6], restart_weights=[1], eta_mins=[0, 0])


def test_unknown_schedule_and_argument():
    with pytest.raises(
            UsageError,
            match=r"train: scheduler: type 'TrueCosineLR' is unknown; closest match: TrueCosineAnnealingLR"):
        rates('TrueCosineLR', 1)
    with pytest.raises(UsageError, match=r"train: scheduler: TrueCosineAnnealingLR: .*'Tmax'"):
        rates('TrueCosineAnnealingLR', 1, Tmax=3)


@pytest.mark.parametrize('scheduler, length', [
    ({'type': 'CosineAnnealingRestartLR', 'periods': [3, 4], 'restart_weights': [1, 1]}, 7),
    ({'type': 'TrueCosineAnnealingLR', 'T_max': 9}, 9),
    ({'type': 'MultiStepLR', 'milestones': [3]}, None),
])  # yapf: disable
def test_length_of_schedule(scheduler, length):
    opt = {'optim_g': {'type': 'Adam', 'lr': 1e-3}, 'scheduler': scheduler, 'total_iter': 5,
           'pixel_opt': {'type': 'L1Loss'}}  # yapf: disable
    assert TrainOptions.read(opt).scheduler.length == length


def test_biases_of_convolutions_have_their_own_rate():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1, bias=False), nn.ConvTranspose2d(1, 1, 2))
    net[2].weight.requires_grad = False
    group, = parameter_groups(net, 1, 0.5)
    assert [id(v) for v in group['params']] == [id(p) for p in net.parameters() if p.requires_grad]
    others, biases = parameter_groups(net, 0.1, 0.5)
    assert [id(v) for v in biases['params']] == [id(net[0].bias), id(net[3].bias)] and biases['lr'] == 0.05
    assert {id(v) for v in others['params']} == {id(v) for v in (net[0].weight, *net[1].parameters(), net[3].weight)}


def test_parts_have_their_own_rate():
    net = nn.ModuleDict(dict(body=nn.Conv2d(1, 2, 3), memory=nn.Linear(2, 2), memory_out=nn.Conv2d(2, 1, 1)))
    groups = parameter_groups(net, 0.5, 1., {'memory.*': 10, 'memory*': 2})
    rates = {id(p): group['lr'] for group in groups for p in group['params']}
    assert [rates[id(p)] for p in net.parameters()] == [1, .5, 10, 10, 2, 1]  # the first match, times that of biases
    with pytest.raises(UsageError, match=r"'memory\.\*' .* only those of earlier patterns"):
        parameter_groups(net, 1, 1., {'*': 2, 'memory.*': 10})
    net['memory'].requires_grad_(False)
    with pytest.raises(UsageError, match=r"lr_mult: 'memory\.\*' matches no trainable parameter"):
        parameter_groups(net, 1, 1., {'memory.*': 10})
