"""What every restoration network of the package has to do, whatever it computes."""
import copy
import pytest
import torch

from tests.networks import NETWORKS, build, image, outputs

every_network = pytest.mark.parametrize('name', NETWORKS)


@every_network
@pytest.mark.parametrize('size', [(1, 1), (1, 7), (31, 31), (17, 40)])
def test_any_size(name, size):
    net = build(name)
    x = image(net, *size)
    with torch.no_grad():
        assert all(y.shape == x.shape for y in outputs(net.train(), x.repeat(2, 1, 1, 1)[:2]))
        y = net.eval()(x)
    assert isinstance(y, torch.Tensor) and y.shape == x.shape and torch.isfinite(y).all()


@every_network
def test_reload(name, tmp_path):
    net, other = build(name).eval(), build(name, seed=1).eval()
    x = image(net)
    torch.save(net.state_dict(), tmp_path / 'net.pth')
    with torch.no_grad():
        assert not torch.equal(net(x), other(x))
        other.load_state_dict(torch.load(tmp_path / 'net.pth', weights_only=True))
        assert torch.equal(net(x), other(x))


@every_network
def test_every_parameter_gets_a_gradient(name):
    net = build(name).double().train()
    sum(y.sin().sum() * (i + 1) for i, y in enumerate(outputs(net, image(net, dtype=torch.float64)))).backward()
    for key, p in net.named_parameters():
        # A BatchNorm removes the bias in front of it: its gradient is zero up to rounding.
        cancelled = key.endswith('.bias') and 'conv' in key and 'MemNet' in name
        assert p.grad is not None and (p.grad.abs().max() > 1e-12 or cancelled), key


@every_network
def test_evaluation_changes_nothing(name):
    net = build(name).eval()
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        first, second = net(image(net)), net(image(net))
    assert torch.equal(first, second)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


@every_network
def test_images_of_a_batch_do_not_see_each_other_in_evaluation(name):
    net = build(name).double().eval()
    x = image(net, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net(x), torch.cat([net(v[None]) for v in x]), rtol=1e-9, atol=1e-9)


@every_network
def test_bfloat16(name):
    net = build(name).eval()
    x = image(net)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast('cpu', torch.bfloat16):
            y = net(x).float()
    assert (y - expected).std() < 0.05 * expected.std()
