"""One optimisation step against closed forms and against plain PyTorch."""
import copy
import math
import pytest
import torch
from torch import nn

from memnet_basicsr.engine.step import TrainStep
from memnet_basicsr.errors import UsageError

LR = 0.1


def batch(seed=0, size=4):
    """A degraded and a clean batch."""
    generator = torch.Generator().manual_seed(seed)
    gt = torch.rand(size, 1, 12, 12, generator=generator)
    return {'lq': gt + 0.1 * torch.randn(gt.shape, generator=generator), 'gt': gt}


def tiny_net():
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 1, 3, padding=1))


def linear(weights, lr=LR):
    """Parameters whose gradient of the loss `(grad * w).sum()` is whatever one likes, with SGD."""
    net = nn.Linear(len(weights), 1, bias=False)
    net.weight.data = torch.tensor([weights])
    return net, torch.optim.SGD(net.parameters(), lr)


def step_with_gradient(grad, opt, lr=LR):
    """Change of zero weights by one step of SGD, divided by -lr: the gradient that the optimizer saw."""
    net, optimizer = linear([0.] * len(grad), lr)
    step = TrainStep(opt, optimizer, torch.device('cpu'))
    _, done = step(net, (torch.tensor([grad]), ), lambda x: {'l': net(x).sum()}, 1)
    assert done
    return (net.weight[0] / -lr).tolist(), float(step.grad_norm)


@pytest.mark.parametrize(
    'opt, expected',
    [
        ({}, [3., -4.]),
        ({
            'grad_clip': {
                'norm': 10.
            }
        }, [3., -4.]),
        ({
            'grad_clip': {
                'norm': 2.5
            }
        }, [1.5, -2.]),  # norm 5 is halved
        ({
            'use_grad_clip': True
        }, [0.006, -0.008]),  # norm 0.01
        ({
            'grad_clip': {
                'value': 3.5
            }
        }, [3., -3.5]),
        ({
            'grad_clip': {
                'adjustable': 0.01
            }
        }, [0.06, -0.08]),  # theta / lr = 0.1
    ])
def test_clipping(opt, expected):
    seen, norm = step_with_gradient([3., -4.], opt)
    assert seen == pytest.approx(expected, rel=1e-5)
    assert norm == pytest.approx(5)  # before clipping


def test_clipping_equals_pytorch():
    nets = [tiny_net() for _ in range(2)]
    nets[1].load_state_dict(nets[0].state_dict())
    data = batch()
    optimizers = [torch.optim.SGD(v.parameters(), 1.) for v in nets]
    step = TrainStep({'grad_clip': {'norm': 1e-3}}, optimizers[0], torch.device('cpu'))
    step(nets[0], (data['lq'], data['gt']), lambda lq, gt: {'l': ((nets[0](lq) - gt)**2).mean()}, 1)
    ((nets[1](data['lq']) - data['gt'])**2).mean().backward()
    norm = torch.nn.utils.clip_grad_norm_(nets[1].parameters(), 1e-3)
    optimizers[1].step()
    torch.testing.assert_close(step.grad_norm, norm)
    for a, b in zip(nets[0].parameters(), nets[1].parameters()):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-8)  # PyTorch adds 1e-6 to the norm


def test_adjustable_clipping_follows_the_schedule_and_stands_a_rate_of_zero():
    assert step_with_gradient([3., -4.], {'grad_clip': {'adjustable': 0.01}}, lr=1e-3)[0] == pytest.approx([3., -4.])
    net, optimizer = linear([1.], lr=0.)
    step = TrainStep({'grad_clip': {'adjustable': 0.01}}, optimizer, torch.device('cpu'))
    step(net, (torch.ones(1, 1), ), lambda x: {'l': net(x).sum()}, 1)
    assert net.weight.item() == 1


@pytest.mark.parametrize('parts', [2, 4])
def test_accumulation_equals_the_whole_batch(parts):
    results = []
    for accumulate in (1, parts):
        torch.manual_seed(0)
        net = tiny_net()
        optimizer = torch.optim.Adam(net.parameters(), 1e-2)
        step = TrainStep({'accumulate': accumulate, 'grad_clip': {'norm': 1e-2}}, optimizer, torch.device('cpu'))
        sizes = []

        def losses(lq, gt):
            sizes.append(len(lq))  # noqa: B023
            return {'l_1': ((net(lq) - gt)**2).mean(), 'l_2': (net(lq) - gt).abs().mean()}  # noqa: B023

        for i in range(5):
            data = batch(i, size=8)
            logged, _ = step(net, (data['lq'], data['gt']), losses, i)
        assert sizes == [8 // accumulate] * accumulate * 5
        results.append((dict(net.named_parameters()), logged))
    for name, value in results[0][0].items():
        torch.testing.assert_close(results[1][0][name], value, rtol=1e-5, atol=1e-7)
    for name in ('l_1', 'l_2'):
        torch.testing.assert_close(results[1][1][name], results[0][1][name])
        assert not results[1][1][name].requires_grad


@pytest.mark.parametrize('precision, dtype', [('bf16', torch.bfloat16), ('fp16', torch.float16)])
def test_mixed_precision(precision, dtype):
    """Close to fp32, with weights in fp32 and the network running in the lower precision."""
    results = []
    for value in ('fp32', precision):
        torch.manual_seed(0)
        net = tiny_net()
        seen = []
        net[0].register_forward_hook(lambda m, i, o: seen.append(o.dtype))  # noqa: B023
        step = TrainStep({'precision': value}, torch.optim.SGD(net.parameters(), 0.1), torch.device('cpu'))

        def losses(lq, gt):
            with step.autocast():  # noqa: B023
                out = net(lq)  # noqa: B023
            return {'l': ((out.float() - gt)**2).mean()}

        for i in range(10):
            data = batch(i)
            step(net, (data['lq'], data['gt']), losses, i)
        results.append(net)
    assert seen == [dtype] * 10
    for a, b in zip(results[0].parameters(), results[1].parameters()):
        assert b.dtype is torch.float32 and not torch.equal(a, b)
        torch.testing.assert_close(a, b, rtol=0.02, atol=2e-3)


def test_fp16_scale_falls_and_is_saved(log):
    """A gradient that overflows only when it is scaled is not counted as an accident; the scale is resumed."""
    net, optimizer = linear([1.])
    step = TrainStep({'precision': 'fp16', 'nonfinite_patience': 2}, optimizer, torch.device('cpu'))
    step.scaler = torch.amp.GradScaler('cpu', init_scale=2.**120)
    grad = torch.tensor([[2.**12]])  # overflows float32 at scales from 2 ** 116 on
    done = [step(net, (grad, ), lambda x: {'l': net(x).sum()}, i)[1] for i in range(8)]
    assert done == [False] * 5 + [True] * 3
    assert step.skipped == 0
    assert 'iter 0: the loss scale falls from 1.32923e+36 to 6.64614e+35' in log.text
    state = step.state_dict()
    other = TrainStep({'precision': 'fp16'}, optimizer, torch.device('cpu'))
    other.load_state_dict(state)
    assert other.scaler.get_scale() == 2.**115 and other.state_dict() == state


@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
@pytest.mark.parametrize('bad', [math.nan, math.inf])
def test_non_finite_steps_are_skipped_counted_and_end_the_run(log, precision, bad):
    net, optimizer = linear([1.])
    step = TrainStep({'precision': precision, 'nonfinite_patience': 3}, optimizer, torch.device('cpu'))
    before = copy.deepcopy(net.state_dict())
    run = lambda value, i: step(  # noqa: E731
        net, (torch.tensor([[value]]), ), lambda x: {'l_pix': net(x).sum()}, i)
    for i in range(2):
        assert run(bad, i)[1] is False
    assert torch.equal(net.weight, before['weight'])
    assert (step.skipped, step.skipped_in_a_row) == (2, 2)
    assert run(1., 2)[1] is True
    assert (step.skipped, step.skipped_in_a_row) == (2, 0)
    for i in range(3, 5):
        run(bad, i)
    with pytest.raises(UsageError, match=r'iter 5: 3 steps in a row were not finite \(l_pix (nan|inf)\): lower the'):
        run(bad, 5)
    assert f'iter 4: the gradient is not finite (l_pix {bad:.3e}); the step is skipped (2 in a row, 4 in all)' in (
        log.text)


def test_non_finite_loss_with_finite_gradient_is_skipped():
    net, optimizer = linear([1.])
    step = TrainStep({}, optimizer, torch.device('cpu'))
    _, done = step(net, (torch.ones(1, 1), ), lambda x: {'l': net(x).sum() + math.inf}, 1)
    assert not done and step.skipped == 1 and net.weight.item() == 1
