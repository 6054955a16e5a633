import pytest
import torch

from basicsr.losses import build_loss
from memnet_basicsr.losses.edge_loss import EdgeLoss

LOSSES = [dict(type='L1Loss', loss_weight=2.0), dict(type='EdgeLoss', loss_weight=0.05)]


def make(**kwargs):
    return build_loss(dict(type='MultiOutputLoss', **{'losses': LOSSES, **kwargs}))


def values(*shape):
    torch.manual_seed(0)
    return [torch.rand(2, 3, 8, 9) for _ in range(3)], torch.rand(2, 3, 8, 9)


def test_sum_over_losses_and_outputs():
    outputs, target = values()
    expected = sum(2 * (v - target).abs().mean() + 0.05 * EdgeLoss()(v, target) for v in outputs)
    torch.testing.assert_close(make()(outputs, target), expected)
    torch.testing.assert_close(make(average=True)(outputs, target), expected / 3)


def test_weights_of_outputs():
    outputs, target = values()
    loss = make(losses=LOSSES[:1], output_weights=[1, 0, 0.5])(outputs, target)
    torch.testing.assert_close(loss, 2 * (outputs[0] - target).abs().mean() + (outputs[2] - target).abs().mean())


def test_one_output_need_not_be_a_list():
    outputs, target = values()
    torch.testing.assert_close(make()(outputs[0], target), make()(outputs[:1], target))


def test_terms_by_name():
    outputs, target = values()
    loss = make(losses=LOSSES + LOSSES[:1])
    terms = loss.terms(outputs, target)
    assert list(terms) == ['l11', 'edge', 'l12']
    torch.testing.assert_close(terms['edge'], sum(0.05 * EdgeLoss()(v, target) for v in outputs))
    torch.testing.assert_close(loss(outputs, target), sum(terms.values()))


def test_weight_of_pixels():
    outputs, target = values()
    weight = torch.zeros(2, 1, 8, 9)
    weight[..., :4] = 1
    loss = make(losses=LOSSES[:1])(outputs[0], target, weight)
    torch.testing.assert_close(loss, 2 * (outputs[0] - target)[..., :4].abs().mean())


def test_memnet_multi_supervision():
    """alpha / (2N) sum |gt - y|^2 + (1 - alpha) / (2MN) sum_m sum |gt - y_m|^2 with alpha = 1 / (M + 1)."""
    outputs, target = values()
    alpha, num = 1 / 3, 2
    errors = [(v - target).square().sum() for v in outputs]
    expected = alpha / (2 * num) * errors[0] + (1 - alpha) / (2 * 2 * num) * (errors[1] + errors[2])
    loss = make(losses=[dict(type='MSELoss', loss_weight=0.5, reduction='sum')], average=True)(outputs, target) / num
    torch.testing.assert_close(loss, expected)


def test_refuses():
    outputs, target = values()
    with pytest.raises(ValueError, match='2 items, but the network returns 3 outputs'):
        make(output_weights=[1, 1])(outputs, target)
    with pytest.raises(ValueError, match='losses'):
        make(losses=[])
