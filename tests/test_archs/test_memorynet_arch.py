import numpy as np
import pytest
import torch
from pathlib import Path

from basicsr.archs import build_network
from memnet_basicsr.archs.memorynet_arch import MemoryNet
from memnet_basicsr.engine.addressing_meter import AddressingMeter
from tests.reference.memorynet_plain import MemoryNetPlain

SMALL = dict(num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=2)
VECTORS = Path(__file__).parents[1] / 'data' / 'memorynet_released_small.npz'


def make(seed=0, **kwargs):
    torch.manual_seed(seed)
    return MemoryNet(**{**SMALL, **kwargs})


def bring_to_life(net, std=0.05):
    """Give the residual reads an effect, which they start without."""
    for insertion in net.insertions.values():
        torch.nn.init.normal_(insertion.proj_out.weight, std=std)
    return net


def num_param(net):
    return sum(v.numel() for v in net.parameters())


@pytest.mark.parametrize('dtype, tol', [(torch.float64, 1e-6), (torch.float32, 1e-5)])
@pytest.mark.parametrize('cls', [MemoryNet, MemoryNetPlain])
def test_released_vectors(cls, dtype, tol):
    data = np.load(VECTORS)
    net = cls(**SMALL, memory='released').to(dtype)
    net.load_state_dict({k[6:]: torch.from_numpy(data[k]) for k in data.files if k.startswith('param:')})
    x = torch.from_numpy(data['input']).to(dtype)
    with torch.no_grad():
        outputs = [*net.memory(x), *net(x)]
    for name, output in zip(['memory_part', 'memory_ins', 'memory_sem', 'stage3', 'stage2', 'stage1'], outputs):
        np.testing.assert_allclose(output.numpy(), data[name], rtol=0, atol=tol, err_msg=name)


@pytest.mark.parametrize('kwargs, number', [
    (dict(memory='none'), 3637249),
    (dict(memory='released'), 3637585),
    (dict(memory='none', num_feat=96, scale_unetfeats=48, scale_orsnetfeats=32), 20127073),
])
def test_published_numbers_of_parameters(kwargs, number):
    with torch.device('meta'):
        assert num_param(MemoryNet(**kwargs)) == number


@pytest.mark.parametrize('num_ch, size', [(3, (32, 48)), (1, (16, 24))])
def test_backbone_equals_plain(num_ch, size):
    net = make(num_in_ch=num_ch, num_out_ch=num_ch, memory='none').double()
    plain = MemoryNetPlain(num_ch=num_ch, **SMALL).double()
    plain.load_state_dict(net.state_dict())
    x = torch.rand(2, num_ch, *size, dtype=torch.float64)
    out, expected = net(x), plain(x)
    for one, two in zip(out, expected):
        torch.testing.assert_close(one, two, rtol=0, atol=1e-12)
    sum(v.square().mean() for v in out).backward()
    sum(v.square().mean() for v in expected).backward()
    plain_param = dict(plain.named_parameters())
    for name, value in net.named_parameters():
        torch.testing.assert_close(value.grad, plain_param[name].grad, rtol=1e-8, atol=1e-12)
    with torch.no_grad():  # the in-place form of evaluation
        torch.testing.assert_close(net.eval()(x), expected[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize('kwargs', [
    dict(),
    dict(chained=True, insert=['encoder1', 'decoder2'], reconstruction=True),
    dict(levels=['semantic'], insert=['decoder1']),
])
def test_with_memory_it_starts_as_the_backbone(kwargs):
    x = torch.rand(1, 3, 21, 34)
    backbone, net = make(memory='none'), make(**kwargs)
    for one, two in zip(net(x), backbone(x)):
        assert torch.equal(one, two)


def test_padding_is_a_reflection():
    net = make(memory='none').eval()
    x = torch.rand(1, 3, 13, 16)
    whole = torch.cat([x, x[:, :, 9:12].flip(2)], dim=2)
    with torch.no_grad():
        torch.testing.assert_close(net(x), net(whole)[:, :, :13])


def test_what_comes_out():
    net = make()
    x = torch.rand(1, 3, 16, 16)
    outputs = net(x)
    assert isinstance(outputs, list) and [v.shape for v in outputs] == [x.shape] * 3
    final = make(supervise='final')
    assert torch.equal(final(x), outputs[0])
    torch.testing.assert_close(net.eval()(x), outputs[0])


@pytest.mark.parametrize('levels, insert, keys', [
    (('part', 'instance', 'semantic'), ['encoder3', 'decoder3'],
     ['stage1_encoder3', 'stage1_decoder3', 'stage2_encoder3', 'stage2_decoder3', 'stage3_encoder', 'stage3_decoder']),
    (['part', 'instance'], ['encoder1', 'encoder2'
                            ], ['stage1_encoder1', 'stage1_encoder2', 'stage2_encoder1', 'stage2_encoder2']),
    (['part', None, 'semantic'], ['encoder1', 'encoder3'], ['stage1_encoder1', 'stage1_encoder3', 'stage3_encoder']),
])
def test_where_it_reads(levels, insert, keys):
    net = make(levels=levels, insert=insert)
    assert list(net.insertions) == keys
    for key in keys:
        assert net.insertions[key].level == levels[int(key[5]) - 1]
    meter = AddressingMeter(net.memory)
    net(torch.rand(1, 3, 16, 16))
    assert {k.split('_')[1] for k in meter.close()} == {v for v in levels if v}


@pytest.mark.parametrize('kwargs', [
    dict(memory='none'),
    dict(memory='released'),
    dict(),
    dict(chained=True, levels=['part', 'instance'], insert=['encoder1', 'decoder2']),
    dict(replace=True, bias=True),
    dict(reconstruction=True),
])
def test_every_parameter_learns(kwargs):
    net = bring_to_life(make(**kwargs, reduction=1))  # a hidden layer of 2 may have both its ReLUs shut
    x = torch.rand(2, 3, 16, 16)
    loss = sum(v.square().mean() for v in net(x))
    if 'reconstruction' in kwargs:
        loss = loss + net.reconstruct(x).square().mean()
    loss.backward()
    assert [k for k, v in net.named_parameters() if v.grad is None] == []
    # the released memory's higher reads are constant to 1e-4 at the start: their gradients may vanish in float32
    if kwargs.get('memory') != 'released':
        assert [k for k, v in net.named_parameters() if not v.grad.any()] == []


def test_reload():
    net = bring_to_life(make(reconstruction=True)).eval()
    again = make(seed=1, reconstruction=True).eval()
    again.load_state_dict(net.state_dict())
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(net(x), again(x)) and torch.equal(net.reconstruct(x), again.reconstruct(x))


def test_from_an_option_file():
    net = build_network(
        dict(
            type='MemoryNet',
            **SMALL,
            memory='feature',
            levels=['part'],
            insert=['decoder3'],
            memory_opt=dict(num_feat=16, num_class=4)))
    assert net.memory.weight.shape == (40, 16)


@pytest.mark.parametrize('insert', [['encoder3', 'decoder3'], ['decoder1'], ['encoder1'], ['encoder2', 'decoder3']])
def test_nothing_bypasses_the_memory_in_reconstruction(insert):
    net = make(insert=insert, reconstruction=True)
    with torch.no_grad():
        net.memory.weight.zero_()  # an empty memory: nothing of the image may come through
        one, two = net.reconstruct(torch.rand(1, 3, 16, 20)), net.reconstruct(torch.rand(1, 3, 16, 20))
    assert torch.equal(one, two) and one.shape == (1, 3, 16, 20)


def test_reconstruction_learns():
    net = make(reconstruction=True, insert=['decoder3'])
    x = torch.nn.functional.interpolate(torch.rand(2, 3, 2, 2), size=16)
    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        losses.append((net.reconstruct(x) - x).square().mean())
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.4 * x.var()


def test_features():
    net = make()
    feat, local = net.features(torch.rand(2, 3, 13, 10))
    assert feat.shape == (2, 12) and local.shape == (2, 12, 2, 2)
    feat.square().mean().backward()
    assert net.shallow_feat3[0].weight.grad.any() and net.stage3_orsnet.orb3.body[0].body[0].weight.grad.any()


@pytest.mark.parametrize('kwargs, word', [(dict(memory='pixels'), 'pixels'), (dict(supervise='first'), 'first'),
                                          (dict(num_in_ch=1), 'num_in_ch'), (dict(levels=[]), 'levels'),
                                          (dict(levels=['whole']), 'whole'), (dict(insert=['encoder4']), 'encoder4'),
                                          (dict(levels=[None, 'part'], reconstruction=True), 'stage 1'),
                                          (dict(memory='none', reconstruction=True), 'memory')])
def test_wrong_arguments(kwargs, word):
    with pytest.raises(ValueError, match=word):
        make(**kwargs)


def test_reconstruction_that_was_not_asked_for():
    with pytest.raises(ValueError, match='reconstruction: true'):
        make().reconstruct(torch.rand(1, 3, 8, 8))


def test_seams_where_the_parts_meet_go_with_the_parts():
    """On an even image, rows beside the middle differ only if the parts are padded there."""
    differences = []
    for patches in (True, False):
        net = bring_to_life(make(patches=patches)).eval()
        with torch.no_grad():
            out = net(torch.full((1, 3, 192, 192), 0.5))[0]
        differences.append([(out[:, 96, 60:80] - out[:, 95, 60:80]).abs().max().item(),
                            (out[:, 60:80, 96] - out[:, 60:80, 95]).abs().max().item()])  # yapf: disable
    assert min(differences[0]) > 1e-4 and max(differences[1]) < 1e-6
