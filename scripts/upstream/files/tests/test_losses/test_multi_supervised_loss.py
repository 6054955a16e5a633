import pytest
import torch

from basicsr.losses.multi_supervised_loss import MultiSupervisedLoss


@pytest.mark.parametrize('alpha', [None, 0, 0.3])
def test_multi_supervised_loss(alpha):
    """Test loss: MultiSupervisedLoss against the formula of the paper."""

    outputs, target = [torch.rand((2, 3, 4, 5)) for _ in range(4)], torch.rand((2, 3, 4, 5))
    errors = [((v - target)**2).sum() for v in outputs]
    num, share = 2, 1 / 4 if alpha is None else alpha
    expected = share / (2 * num) * errors[0] + (1 - share) / (2 * 3 * num) * sum(errors[1:])
    assert torch.allclose(MultiSupervisedLoss(alpha=alpha, reduction='sum')(outputs, target), expected)
    assert torch.allclose(MultiSupervisedLoss(2., alpha)(outputs, target), 2 * expected / (3 * 4 * 5))

    # a single output
    assert torch.allclose(MultiSupervisedLoss()(outputs[0], target), ((outputs[0] - target)**2).mean() / 2)
    with pytest.raises(ValueError):
        MultiSupervisedLoss(reduction='none')
    with pytest.raises(ValueError):
        MultiSupervisedLoss(alpha=2)
