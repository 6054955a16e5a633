import pytest
import torch

from basicsr.archs.memnet_arch import MemNet
from basicsr.losses.multi_supervised_loss import MultiSupervisedLoss


@pytest.mark.parametrize('num_block, num_params', [(4, 447175), (6, 695497)])
def test_memnet_parameters(num_block, num_params):
    """Test arch: MemNet has the number of parameters of the released M4R6 and M6R6."""

    assert sum(p.numel() for p in MemNet(num_block=num_block).parameters()) == num_params


@pytest.mark.parametrize('kwargs', [
    dict(),
    dict(num_in_ch=3, unshuffle=2),
    dict(multi_supervised=False),
    dict(long_term=False, short_term=False),
    dict(shared_recursion=False)
])
def test_memnet(kwargs):
    """Test arch: MemNet."""

    # model init and forward
    net = MemNet(num_feat=4, num_block=2, num_recursion=2, **kwargs)
    img = torch.rand((2, kwargs.get('num_in_ch', 1), 11, 7), dtype=torch.float32)
    output = net(img)
    if kwargs.get('multi_supervised', True):
        assert len(output) == 3  # the result and one output of each block
        weight = net.ensemble_weight.view(2, 1, 1, 1, 1)
        assert torch.allclose(output[0], (weight * torch.stack(output[1:])).sum(0), atol=1e-6)
        assert all(v.shape == img.shape for v in output)

    # each parameter gets a gradient
    MultiSupervisedLoss()(output, img).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters() if p.requires_grad)

    # in evaluation mode, the network returns one tensor
    net.eval()
    assert net(img).shape == img.shape


def test_memnet_arguments():
    """Test arch: MemNet refuses wrong arguments."""

    with pytest.raises(ValueError):
        MemNet(supervise='last')
    with pytest.raises(ValueError):
        MemNet(num_block=0)
