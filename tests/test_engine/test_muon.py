"""Muon against torch.optim.Muon, torch.optim.AdamW and the singular value decomposition."""
import copy
import math
import pytest
import torch
from torch import nn

from memnet_basicsr.engine.muon import Muon, orthogonalize, takes_muon
from memnet_basicsr.engine.optim import build_optimizer, parameter_groups
from memnet_basicsr.errors import UsageError


@pytest.mark.parametrize('shape', [(3, 8, 20), (2, 20, 8), (1, 16, 16)])
def test_orthogonalize_keeps_singular_vectors(shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    y = orthogonalize(x)
    u, _, vh = torch.linalg.svd(x, full_matrices=False)
    in_basis = u.mT @ y @ vh.mT
    diagonal = in_basis.diagonal(dim1=1, dim2=2)
    assert (in_basis - torch.diag_embed(diagonal)).abs().max() < 1e-4
    assert diagonal.min() > 0.3 and diagonal.max() < 1.3
    assert torch.allclose(orthogonalize(100 * x), y, atol=1e-5)


def train(net, optimizer, steps=4):
    for k in range(steps):
        torch.manual_seed(k)
        x = torch.randn(2, 3, 6, 6)
        optimizer.zero_grad()
        (net(x) - x.mean()).square().mean().backward()
        optimizer.step()


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Conv2d(4, 1, 1))


@pytest.mark.skipif(not hasattr(torch.optim, 'Muon'), reason='torch.optim.Muon came with torch 2.9')
@pytest.mark.parametrize('shape', [(12, 5), (5, 12)])
def test_equals_torch_muon_on_matrices(shape):
    """torch orthogonalizes in bfloat16, hence the tolerance."""
    torch.manual_seed(0)
    start, target = torch.randn(shape), torch.randn(shape)
    params = [nn.Parameter(start.clone()) for _ in range(2)]
    optimizers = [
        Muon(params[:1], lr=1e-2, muon_lr_mult=1, momentum=0.9, weight_decay=0.1),
        torch.optim.Muon(params[1:], lr=1e-2, momentum=0.9, weight_decay=0.1)
    ]
    for _ in range(5):
        for p, optimizer in zip(params, optimizers):
            optimizer.zero_grad()
            (p - target).square().sum().backward()
            optimizer.step()
    moved = (params[1] - start).norm()
    assert moved > 0.05
    assert (params[0] - params[1]).norm() < 0.02 * moved


def test_other_parameters_take_adamw_steps():
    nets = [small_net() for _ in range(2)]
    groups = [[p for p in net.parameters() if not takes_muon(p)] for net in nets]
    assert [tuple(p.shape) for p in groups[0]] == [(8, ), (8, ), (8, ), (4, ), (1, 4, 1, 1), (1, )]
    kwargs = dict(lr=1e-2, betas=(0.9, 0.99), weight_decay=0.1)
    train(nets[0], Muon(groups[0], **kwargs))
    train(nets[1], torch.optim.AdamW(groups[1], **kwargs))
    for a, b in zip(*groups):
        assert torch.allclose(a, b, atol=1e-6)


def test_convolution_is_its_matrix():
    """The first step of a convolution moves its (out, in * k * k) matrix by an orthogonal one of the stated size."""
    net = small_net()
    before = net[0].weight.detach().clone()
    train(net, Muon(net.parameters(), lr=1e-3, muon_lr_mult=20), steps=1)
    step = (before - net[0].weight).flatten(1) / (1e-3 * 20 * math.sqrt(max(1, 8 / 27)))
    u, _, vh = torch.linalg.svd(net[0].weight.grad.flatten(1), full_matrices=False)
    assert (torch.linalg.matrix_norm(step - u @ vh, ord=2)) < 0.75
    assert torch.linalg.svdvals(step).max() < 1.3


def test_resumes_exactly():
    nets = [small_net() for _ in range(2)]
    optimizers = [build_optimizer('Muon', parameter_groups(net, 0.1, 1e-3), lr=1e-3, betas=[0.9, 0.9]) for net in nets]
    train(nets[0], optimizers[0], 3)
    nets[1].load_state_dict(nets[0].state_dict())
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    for net, optimizer in zip(nets, optimizers):
        train(net, optimizer, 3)
    assert all(torch.equal(a, b) for a, b in zip(nets[0].parameters(), nets[1].parameters()))
    assert optimizers[0].param_groups[1]['lr'] == pytest.approx(1e-4)


@pytest.mark.parametrize('name, value', [('momentum', 1), ('muon_lr_mult', -1), ('betas', [0.9, 1.5]), ('lr', -1)])
def test_arguments_outside_their_range(name, value):
    with pytest.raises(UsageError, match=r'^Muon: Invalid'):
        build_optimizer('Muon', small_net().parameters(), **{'lr': 1e-3, name: value})
