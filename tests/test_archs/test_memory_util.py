import math
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from memnet_basicsr.archs.memory_util import (LEVELS, Addressing, HierarchicalMemory, MemoryInsertion, RunningScaler,
                                              from_rows, recalling, to_rows)
from memnet_basicsr.archs.raw_pixel_memory import RawPixelMemory
from memnet_basicsr.engine.addressing_meter import AddressingMeter
from tests.reference.memorynet_plain import read_plain


def small(**kwargs):
    torch.manual_seed(0)
    return HierarchicalMemory(**{**dict(num_feat=6, num_class=3, num_instance=2, num_part=4), **kwargs})


def test_read_equals_the_formula():
    memory = small(threshold=0.05).double()
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    for level in LEVELS:
        plain = read_plain(x, memory.prototypes(level), temperature=0.1, threshold=0.05)
        torch.testing.assert_close(from_rows(memory.read(to_rows(x), level), x), plain)


def test_numbers_of_prototypes():
    memory = HierarchicalMemory(num_feat=2, num_class=21, num_instance=2, num_part=5)
    assert [len(memory.prototypes(v)) for v in LEVELS] == [210, 42, 21]


def test_higher_prototype_is_a_gated_mean_of_its_own_block():
    memory = small()
    weight, gate = memory.weight.detach().numpy(), memory.summaries[0].gate
    matrix, bias = gate.weight.detach().numpy(), gate.bias.detach().numpy()
    expected = np.empty((6, 6))
    for i in range(6):
        block = weight[4 * i:4 * i + 4]
        gates = 1 / (1 + np.exp(-(matrix @ block + bias[:, None])))
        expected[i] = (gates * block).sum(0) / gates.sum(0)
    np.testing.assert_allclose(memory.prototypes('instance').detach().numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_feature_that_is_a_prototype_reads_it_when_cold():
    memory = small(temperature=1e-3)
    x = 5 * memory.weight.detach()
    torch.testing.assert_close(memory.read(x, 'part'), memory.weight)


def test_paper_temperature_is_all_but_uniform():
    weight = small(temperature=1., num_feat=64, threshold=0.).address(torch.randn(50, 64), 'part')
    assert weight.amax() < 2 / 24


def test_chained_read_feeds_each_level_with_the_one_below():
    memory, x = small(threshold=0.), torch.randn(9, 6)
    expected = memory.read(memory.read(memory.read(x, 'part'), 'instance'), 'semantic')
    torch.testing.assert_close(memory.read(x, 'semantic', chained=True), expected)


def test_gradients():
    memory = small(threshold=0.03).double()
    x = torch.randn(3, 6, dtype=torch.float64, requires_grad=True)

    def read(x, *weights):
        return torch.func.functional_call(memory, dict(zip(names, weights)), (x, ))

    names = [k for k, _ in memory.named_parameters()]
    memory.forward = lambda x: memory.read(x, 'semantic', chained=True)
    assert torch.autograd.gradcheck(read, (x, *[v.detach().clone().requires_grad_() for v in memory.parameters()]))


@pytest.mark.parametrize('shape', [(2, 5, 4, 3), (2, 7, 5)])
def test_insertion_starts_without_effect_and_opens(shape):
    memory = small()
    insertion = MemoryInsertion(5, 6, 'instance')
    x = torch.randn(shape)
    out = insertion(x, memory)
    assert torch.equal(out, x)
    optimizer = torch.optim.Adam([*insertion.parameters(), *memory.parameters()], lr=1e-3)
    target = torch.tanh(x)
    first = F.mse_loss(out, target).item()
    for _ in range(200):
        optimizer.zero_grad()
        loss = F.mse_loss(insertion(x, memory), target)
        loss.backward()
        optimizer.step()
    assert loss < 0.8 * first
    assert all(v.grad.abs().sum() > 0 for v in insertion.parameters())


def test_insertion_equals_projection_read_projection():
    memory = small()
    for replace in (True, False):
        insertion = MemoryInsertion(5, 6, 'semantic', chained=True, replace=replace)
        nn.init.normal_(insertion.proj_out.weight)
        x = torch.randn(2, 7, 5)
        expected = insertion.proj_out(memory.read(insertion.proj_in(x.flatten(0, 1)), 'semantic',
                                                  chained=True)).view_as(x)
        torch.testing.assert_close(insertion(x, memory), expected if replace else x + expected)


def test_recalling_shuts_the_feature_out():
    memory, insertion = small(), MemoryInsertion(5, 6, recall=True)
    x = torch.randn(1, 9, 5)
    with recalling(insertion):
        out = insertion(x, memory)
        # within the span of what the memory holds, and of the same size whatever the feature's
        torch.testing.assert_close(out[0], insertion.proj_recall(memory.read(insertion.proj_in(x[0]))))
    assert torch.equal(insertion(x, memory), x)
    with pytest.raises(ValueError, match='recall'), recalling(insertion):
        insertion.proj_recall = None
        insertion(x, memory)


def test_released_memory_starts_as_measured():
    torch.manual_seed(0)
    stds = [v.std((2, 3)).mean().item() for v in RawPixelMemory()(torch.rand(1, 3, 64, 64))]
    assert .01 < stds[0] < .06 and stds[1] < 1e-3 and stds[2] < 1e-5  # released: .03, 2e-4, 1e-7


@pytest.mark.parametrize('kwargs, word', [(dict(num_class=0), 'num_class'), (dict(temperature=0.), 'temperature'),
                                          (dict(top='whole'), "'whole'")])
def test_wrong_arguments(kwargs, word):
    with pytest.raises(ValueError, match=word):
        HierarchicalMemory(**kwargs)


def test_scaler_gives_mean_zero_and_deviation_one():
    scaler, rows = RunningScaler(3), 5 + 2 * torch.randn(8, 100, 3)
    outs = [scaler(batch) for batch in rows]
    flat = rows.flatten(0, 1)
    torch.testing.assert_close(scaler.mean, flat.mean(0))
    torch.testing.assert_close(scaler.var, flat.var(0, correction=0))
    torch.testing.assert_close(outs[0].mean(0), torch.zeros(3), rtol=0, atol=1e-5)
    expected = (rows[-1] - scaler.mean) / (scaler.var + 1e-5).sqrt()
    torch.testing.assert_close(outs[-1], expected)
    torch.testing.assert_close(scaler.eval()(rows[-1]), expected)
    assert scaler.count == 8


def test_recalling_keeps_the_statistics_of_forward():
    memory, insertion = small(), MemoryInsertion(5, 6, recall=True, centred=True)
    insertion(3 + torch.randn(1, 50, 5), memory)
    mean, var = insertion.scaler.mean.clone(), insertion.scaler.var.clone()
    with recalling(insertion):
        insertion(torch.randn(1, 50, 5), memory)
    assert torch.equal(insertion.scaler.mean, mean) and torch.equal(insertion.scaler.var, var)
    assert insertion.scaler.count == 1


def test_centred_insertion_tells_features_with_a_large_mean_apart():
    x = 10 + torch.randn(1, 500, 5)
    found = {}
    for centred in (False, True):
        memory = small()
        meter = AddressingMeter(memory)
        insertion = MemoryInsertion(5, 6, centred=centred)
        assert torch.equal(insertion(x, memory), x)
        found[centred] = meter.close()['information_part']
    assert found[False] < 0.02 < 0.2 < found[True]


@pytest.mark.parametrize('threshold, expected', [(0., [.5, .3, .2]), (.25, [.625, .375, 0.]), (.9, [1., 0., 0.])])
def test_threshold(threshold, expected):
    """Cosines whose softmax is (.5, .3, .2): prototypes are unit vectors."""
    logits = torch.log(torch.tensor([.5, .3, .2]))
    feat = F.normalize(logits, dim=0)[None]
    weight = Addressing(threshold)(feat, torch.eye(3), 1 / logits.norm())
    torch.testing.assert_close(weight, torch.tensor([expected]))


def test_rows_of_maps_and_tokens():
    x = torch.randn(2, 6, 4, 3)
    rows = to_rows(x)
    assert torch.equal(rows[3], x[0, :, 1, 0]) and torch.equal(from_rows(rows, x), x)
    tokens = x.flatten(2).transpose(1, 2)
    assert torch.equal(to_rows(tokens), rows) and torch.equal(from_rows(rows, tokens), tokens)
    with pytest.raises(ValueError, match='shape'):
        to_rows(torch.rand(6, 4))


def test_level_above_the_top():
    with pytest.raises(ValueError, match='above'):
        small(top='instance').read(torch.rand(9, 6), 'semantic')


def test_insertion_without_recall():
    insertion = MemoryInsertion(5, 6)
    with pytest.raises(ValueError, match='recall'), recalling(insertion):
        insertion(torch.rand(1, 9, 5), small())


def test_meter_on_known_weights():
    memory = HierarchicalMemory(num_feat=4, num_class=1, num_instance=1, num_part=4, temperature=1e-3, threshold=0.)
    with torch.no_grad():
        memory.weight.copy_(torch.eye(4))
    assert AddressingMeter(memory).close() == {}
    meter = AddressingMeter(memory)
    memory.read(torch.eye(4)[:2], 'part')
    assert meter.close() == pytest.approx(dict(entropy_part=0., information_part=.5, dead_part=.5, similarity_part=0.))
    meter = AddressingMeter(memory)
    memory.read(torch.ones(7, 4), 'part')
    expected = dict(entropy_part=1., information_part=0., dead_part=0., similarity_part=0.)
    assert meter.close() == pytest.approx(expected, abs=1e-6)
    memory.read(torch.eye(4), 'part')
    assert meter.close() == pytest.approx(expected, abs=1e-6)


def test_entropy_against_its_definition():
    memory, x = small(), torch.randn(40, 6)
    weight = memory.address(x, 'part').detach().double().numpy()
    meter = AddressingMeter(memory)
    memory.read(x, 'part')
    expected = -np.sum(weight * np.log(np.where(weight > 0, weight, 1)), -1).mean() / math.log(24)
    assert meter.close()['entropy_part'] == pytest.approx(expected, rel=1e-5)


def test_similarity_of_equal_prototypes():
    memory = small()
    with torch.no_grad():
        memory.weight.copy_(memory.weight[:1].expand_as(memory.weight))
    meter = AddressingMeter(memory)
    memory.read(torch.randn(5, 6), 'instance')
    assert meter.close()['similarity_instance'] == pytest.approx(1, abs=1e-5)
