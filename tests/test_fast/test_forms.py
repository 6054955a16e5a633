"""The fast forms compute what the plain networks compute."""
import copy
import pytest
import torch
from torch import nn

from memnet_basicsr import fast
from memnet_basicsr.fast import forms, memnet_deploy, winograd_util
from memnet_basicsr.fast.conditions import trains_plain
from tests.networks import NETWORKS, build, image, outputs

every_network = pytest.mark.parametrize('name', NETWORKS)


def pair(name):
    """A plain network and one with the training forms, of equal weights, in float64."""
    plain = build(name).double().train()
    return plain, fast.training(copy.deepcopy(plain))


def has_form(net):
    return any(type(m) in forms.TRAINING.values() for m in net.modules())


@every_network
def test_training_form_equals_plain(name):
    nets = pair(name)
    assert has_form(nets[1]) == (name != 'MemoryAugmented')  # EDSR has none
    assert nets[0].state_dict().keys() == nets[1].state_dict().keys()
    for seed in range(2):  # the second step sees moved weights and statistics
        xs = [image(nets[0], dtype=torch.float64, seed=seed).requires_grad_() for _ in nets]
        ys = [outputs(net, x) for net, x in zip(nets, xs)]
        assert len(ys[0]) == len(ys[1])
        for one, two in zip(*ys):
            torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-10)
        for net, outs in zip(nets, ys):
            net.zero_grad()
            sum((y * (i + 1)).sin().sum() for i, y in enumerate(outs)).backward()
        torch.testing.assert_close(xs[0].grad, xs[1].grad, rtol=1e-7, atol=1e-9)
        for (key, p), q in zip(nets[0].named_parameters(), nets[1].parameters()):
            torch.testing.assert_close(p.grad, q.grad, rtol=1e-7, atol=1e-7, msg=lambda m, key=key: f'{key}: {m}')
        with torch.no_grad():
            for p, q in zip(nets[0].parameters(), nets[1].parameters()):
                q.copy_(p.sub_(0.01 * p.grad / (p.grad.norm() + 1e-12)))
        for (key, one), two in zip(nets[0].named_buffers(), nets[1].buffers()):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10, msg=lambda m, key=key: f'{key}: {m}')


@every_network
def test_training_form_with_stored_statistics(name):
    """Evaluation mode with gradients, as for fine-tuning with frozen BatchNorm."""
    nets = [net.eval() for net in pair(name)]
    x = image(nets[0], dtype=torch.float64)
    for net in nets:
        net(x).square().sum().backward()
    for p, q in zip(nets[0].parameters(), nets[1].parameters()):
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-7, atol=1e-9)


@every_network
def test_training_form_without_gradients(name):
    for mode in (False, True):
        nets = [net.train(mode) for net in pair(name)]
        x = image(nets[0], dtype=torch.float64)
        with torch.no_grad():
            for one, two in zip(*(outputs(net, x) for net in nets)):
                torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-10)
        for one, two in zip(nets[0].buffers(), nets[1].buffers()):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


@every_network
def test_inference_form_equals_plain(name):
    net = build(name).eval()
    for size in ((37, 10), (1, 1), (24, 33)):
        x = image(net, *size)
        with torch.no_grad():
            exact = copy.deepcopy(net).double()(x.double())
            form = fast.inference(copy.deepcopy(net).double())
            torch.testing.assert_close(form(x.double()), exact, rtol=1e-8, atol=1e-9)
            scale = exact.abs().max()
            torch.testing.assert_close(fast.inference(net)(x) / scale, exact.float() / scale, rtol=0, atol=1e-5)
            half = fast.inference(net, torch.bfloat16)(x)
        assert half.dtype == torch.float32
        if type(net) in forms.INFERENCE:
            assert (half - exact).std() < 0.1 * exact.std()  # these random networks amplify


@pytest.mark.parametrize('name', [v for v in NETWORKS if v.startswith('MemNet')])
@pytest.mark.parametrize('strip_pixels', [80, 10**6])
def test_memnet_by_strips(name, strip_pixels, monkeypatch):
    monkeypatch.setattr(memnet_deploy, 'STRIP_PIXELS', strip_pixels)
    monkeypatch.setattr(winograd_util, 'LEAST_PIXELS', strip_pixels)  # Winograd, or not
    monkeypatch.setattr(winograd_util, 'MOST_PIXELS', strip_pixels)
    net = build(name).double().eval()
    x = image(net, 74, 20, torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(fast.inference(net)(x), net(x), rtol=1e-9, atol=1e-9)


@every_network
def test_inference_form_is_a_copy(name):
    net = build(name).train()
    before = copy.deepcopy(net.state_dict())
    torch.manual_seed(0)
    form = fast.inference(net)
    assert torch.equal(torch.rand(2), torch.rand(2, generator=torch.Generator().manual_seed(0)))
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items()) and net.training
    if form is net:
        return
    assert not form.training and not any(p.requires_grad for p in form.parameters())
    expected = form(image(net))
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    assert torch.equal(form(image(net)), expected)


@every_network
def test_inference_form_of_a_training_form(name):
    plain, fused = pair(name)
    form = fast.inference(fused)
    assert type(form) is type(fast.inference(plain))


def test_networks_without_forms():
    net = nn.Sequential(nn.Conv2d(1, 1, 3))
    assert fast.training(net) is net and fast.inference(net) is net and type(net) is nn.Sequential


def test_subclasses_keep_their_own_forward():
    plain = build('MemNet')
    plain.__class__ = type('Doubled', (type(plain), ), {'forward': lambda self, x: 2 * x})
    net = fast.training(copy.deepcopy(plain))
    x = image(plain)
    assert torch.equal(net(x), 2 * x) and fast.inference(plain) is plain


def test_memnet_keeps_half_of_the_activations():
    """Saved for the backward pass: the input of each BatchNorm. The plain form also saves the output of each ReLU."""

    def saved_bytes(net):
        sizes = {}

        def pack(tensor):
            sizes[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            ys = net(image(net, dtype=torch.float64))
        parameters = {p.untyped_storage().data_ptr() for p in net.parameters()}
        del ys
        return sum(size for pointer, size in sizes.items() if pointer not in parameters)

    plain, fused = pair('MemNet')
    assert saved_bytes(fused) < 0.45 * saved_bytes(plain)


def test_second_derivatives():
    """Gradient penalty: the gradient of the gradient's norm."""
    found = []
    for net in pair('MemNet'):
        x = image(net, 6, 7, torch.float64).requires_grad_()
        grad, = torch.autograd.grad(sum(y.sin().sum() for y in net(x)), x, create_graph=True)
        grad.square().sum().backward()
        found.append([x.grad, *[p.grad for p in net.parameters()]])
    for one, two in zip(*found):
        torch.testing.assert_close(one, two, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize('name', ['MemNet', 'MemoryNet'])
def test_hooks_see_every_activation(name):
    """Forward hooks on inner modules get the plain activations, and nothing changes them later."""
    seen = []
    for net in pair(name):
        kept, copies = {}, {}

        def hook(module, args, y, kept=kept, copies=copies):
            if isinstance(y, torch.Tensor):
                kept.setdefault(id(module), []).append(y)
                copies.setdefault(id(module), []).append(y.detach().clone())

        for module in net.modules():
            module.register_forward_hook(hook)
        outputs(net, image(net, dtype=torch.float64))
        for one, two in zip(kept.values(), copies.values()):
            assert all(torch.equal(a, b) for a, b in zip(one, two))
        seen.append([v for values in copies.values() for v in values])
    assert len(seen[0]) == len(seen[1]) > 10
    for one, two in zip(*seen):
        torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-10)


def test_block_outputs_are_not_overwritten():
    """Hooks on the memory blocks alone leave the fused units in place."""
    net = pair('MemNet')[1]
    kept = []
    for block in net.memory_blocks:
        block.register_forward_hook(lambda module, args, y: kept.append((y, y.detach().clone())))
    outputs(net, image(net, dtype=torch.float64))
    assert len(kept) == 3 and all(torch.equal(y, copied) for y, copied in kept)


def test_sync_batchnorm_and_tracing_take_the_plain_form():
    net = fast.training(nn.SyncBatchNorm.convert_sync_batchnorm(build('MemNet')))
    assert not any(forms_used(net))
    assert all(forms_used(pair('MemNet')[1]))


def forms_used(net):
    return [not trains_plain(m) for m in net.modules() if type(m) in forms.TRAINING.values()]


def test_autocast_of_the_training_form():
    plain, fused = (net.float() for net in pair('MemNet'))
    x = image(plain)
    with torch.autocast('cpu', torch.bfloat16):
        ys = fused(x)
    for one, two in zip(ys, plain(x)):
        assert (one.float() - two).std() < 0.05 * two.std()
    sum(y.float().square().mean() for y in ys).backward()
    sum(y.square().mean() for y in plain(x)).backward()
    for (key, p), q in zip(fused.named_parameters(), plain.named_parameters()):
        q = q[1]
        assert p.grad.dtype == torch.float32 and torch.isfinite(p.grad).all(), key
        if p.dim() == 4:
            assert torch.cosine_similarity(p.grad.flatten(), q.grad.flatten(), dim=0) > 0.95, key
