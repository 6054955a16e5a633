import pytest
import torch

from basicsr.archs.mprnet_arch import MPRNet


def test_mprnet():
    """Test arch: MPRNet."""

    # number of parameters of the released network for deraining
    assert sum(p.numel() for p in MPRNet().parameters()) == 3637249

    # model init and forward
    torch.manual_seed(0)
    net = MPRNet(num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1, reduction=1)
    for size in ((3, 5), (13, 9), (16, 24)):
        img = torch.rand((1, 3, *size), dtype=torch.float32)
        output = net.train()(img)
        assert len(output) == 3 and all(v.shape == img.shape for v in output)  # stages 3, 2 and 1
        assert torch.allclose(net.eval()(img), output[0])

    # each parameter gets a gradient
    sum((v - img).abs().mean() for v in net.train()(img)).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())

    assert MPRNet(num_feat=8, num_cab=1, supervise='final')(img).shape == img.shape
    with pytest.raises(AssertionError):
        MPRNet(num_in_ch=3, num_out_ch=1)


def test_mprnet_quarters():
    """Test arch: the encoder of stage 1 sees quarters, its decoder halves of the image."""

    net = MPRNet(num_feat=4, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1)
    img = torch.rand((1, 3, 32, 32), dtype=torch.float32)
    changed = img.clone()
    changed[:, :, 16:] = 0
    outputs = [net(v)[2] for v in (img, changed)]
    assert torch.allclose(outputs[0][:, :, :16], outputs[1][:, :, :16])
    assert not torch.allclose(outputs[0][:, :, 16:], outputs[1][:, :, 16:])
