import pytest
import torch
from torch.nn import functional as F

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
    torch.manual_seed(0)
    net = MemNet(num_feat=4, num_block=2, num_recursion=2, **kwargs)
    img = torch.rand((2, kwargs.get('num_in_ch', 1), 11, 7), dtype=torch.float32)
    output = net(img)
    if kwargs.get('multi_supervised', True):
        assert len(output) == 3  # the result and one output of each block
        weight = net.ensemble_weight.view(2, 1, 1, 1, 1)
        assert torch.allclose(output[0], (weight * torch.stack(output[1:])).sum(0), atol=1e-6)
        assert all(v.shape == img.shape for v in output)

    # each parameter gets a gradient, which is 0 for biases in front of BatchNorm
    MultiSupervisedLoss()(output, img).backward()
    assert all(p.grad is not None for p in net.parameters())
    assert all(p.grad.abs().sum() > 0 for p in net.parameters() if p.dim() == 4)

    # in evaluation mode, the network returns one tensor
    net.eval()
    assert net(img).shape == img.shape


def test_memnet_formula():
    """Test arch: MemNet with two memory blocks of two recursions, against the equations of the paper."""

    torch.manual_seed(0)
    net = MemNet(num_feat=4, num_block=2, num_recursion=2)
    for norm in net.modules():
        if isinstance(norm, torch.nn.BatchNorm2d):
            for v in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
                torch.nn.init.uniform_(v, 0.5, 1.5)
    net.eval()

    def act(norm, x):
        mean, var, weight, bias = [
            v.view(-1, 1, 1) for v in (norm.running_mean, norm.running_var, norm.weight, norm.bias)
        ]
        return ((x - mean) / torch.sqrt(var + norm.eps) * weight + bias).clamp(min=0)

    def conv(module, x):
        return F.conv2d(x, module.weight, module.bias, padding=module.kernel_size[0] // 2)

    x = torch.rand((1, 1, 6, 7), dtype=torch.float32)
    memories, expected = [conv(net.fenet.conv, act(net.fenet.norm, x))], 0
    for m, block in enumerate(net.memory_blocks):
        states = [memories[-1]]
        for r in (0, 1):
            h = conv(block.conv_a[0], act(block.norm_a[r], states[-1]))
            states.append(states[-1] + conv(block.conv_b[0], act(block.norm_b[r], h)))
        sources = torch.cat(memories + states[1:], dim=1)  # long-term, then short-term memory
        memories.append(conv(block.gate.conv, act(block.gate.norm, sources)))
        output = x + conv(net.recon_conv, act(net.recon_norms[m], memories[-1]))
        expected = expected + net.ensemble_weight[m] * output
    assert torch.allclose(net(x), expected, atol=1e-5)


def test_memnet_arguments():
    """Test arch: MemNet refuses wrong arguments."""

    with pytest.raises(ValueError):
        MemNet(supervise='last')
    with pytest.raises(ValueError):
        MemNet(num_block=0)
