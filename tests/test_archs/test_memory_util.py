import math
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from memnet_basicsr.archs.memory_util import (LEVELS, HierarchicalMemory, MemoryInsertion, RunningScaler, harden,
                                              recalling)
from memnet_basicsr.archs.raw_pixel_memory import RawPixelMemory
from memnet_basicsr.errors import UsageError
from tests.reference.memorynet_plain import read_plain


def small(**kwargs):
    torch.manual_seed(0)
    return HierarchicalMemory(**{**dict(num_feat=6, num_class=3, num_instance=2, num_part=4), **kwargs})


def test_read_equals_the_formula():
    memory = small(threshold=0.05).double()
    x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
    for level in LEVELS:
        plain = read_plain(x, memory.prototypes(level), temperature=0.1, threshold=0.05)
        torch.testing.assert_close(memory.read(x, level), plain)


def test_numbers_of_prototypes():
    memory = HierarchicalMemory(num_feat=2, num_class=7, num_semantic=3, num_instance=2, num_part=5)
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
    x = 5 * memory.weight.detach()[None]
    torch.testing.assert_close(memory.read(x, 'part'), memory.weight[None])


def test_paper_temperature_is_all_but_uniform():
    weight = small(temperature=1., num_feat=64, threshold=0.).read(torch.randn(1, 50, 64), return_attention=True)[1]
    assert weight.amax() < 2 / 24


def test_chained_read_feeds_each_level_with_the_one_below():
    memory, x = small(threshold=0.), torch.randn(1, 9, 6)
    expected = memory.read(memory.read(memory.read(x, 'part'), 'instance'), 'semantic')
    torch.testing.assert_close(memory.read(x, 'semantic', chained=True), expected)


def test_several_levels_and_attention():
    memory, x = small(), torch.randn(2, 6, 4, 3)
    reads = memory.read(x, ['part', 'semantic'], return_attention=True)
    for (read, weight), level, num in zip(reads, ('part', 'semantic'), (24, 3)):
        assert weight.shape == (2, num, 4, 3)
        torch.testing.assert_close(weight.sum(1), torch.ones(2, 4, 3))
        torch.testing.assert_close(torch.einsum('nphw,pc->nchw', weight, memory.prototypes(level)), read)
        torch.testing.assert_close(memory.read(x, level), read)


def test_tokens_and_maps_agree():
    memory, x = small(), torch.randn(2, 6, 4, 3)
    tokens = memory.read(x.flatten(2).transpose(1, 2), 'part')
    torch.testing.assert_close(tokens.transpose(1, 2).unflatten(2, (4, 3)), memory.read(x, 'part'))


@pytest.mark.parametrize('weight, threshold, expected', [
    ([.5, .3, .2], 0., [.5, .3, .2]),
    ([.5, .3, .2], .25, [.625, .375, 0.]),
    ([.4, .35, .25], .9, [1., 0., 0.]),
])
def test_harden(weight, threshold, expected):
    torch.testing.assert_close(harden(torch.tensor([weight]), threshold), torch.tensor([expected]))


def test_threshold_in_multiples_of_uniform():
    x = torch.randn(1, 30, 6)
    for level, num in zip(LEVELS, (24, 6, 3)):
        relative = small(threshold=1.5, threshold_unit='uniform').read(x, level)
        torch.testing.assert_close(relative, small(threshold=1.5 / num).read(x, level))


def test_chunks_change_nothing():
    x = torch.randn(2, 6, 13, 11, dtype=torch.float64)
    whole, chunked = small(chunk=10**6).double(), small(chunk=17).double()
    grads = []
    for memory in (whole, chunked):
        memory.read(x, 'semantic', chained=True).square().sum().backward()
        grads.append([v.grad for v in memory.parameters()])
    with torch.no_grad():
        torch.testing.assert_close(whole.read(x, 'instance'), chunked.read(x, 'instance'), rtol=1e-6, atol=1e-6)
    assert len(grads[0]) == 6
    for one, two in zip(*grads):
        torch.testing.assert_close(one, two)


def test_addressing_is_never_held_at_once(monkeypatch):
    memory, rows = small(chunk=64), []
    address = memory.address
    monkeypatch.setattr(memory, 'address', lambda x, *args: rows.append(len(x)) or address(x, *args))
    with torch.no_grad():
        memory.read(torch.randn(1, 6, 30, 30))
    assert max(rows) == 64 and sum(rows) == 900


def test_gradients():
    memory = small(threshold=0.03).double()
    x = torch.randn(1, 3, 6, dtype=torch.float64, requires_grad=True)

    def read(x, *weights):
        return torch.func.functional_call(memory, dict(zip(names, weights)), (x, ))

    names = [k for k, _ in memory.named_parameters()]
    memory.forward = lambda x: memory.read(x, 'semantic', chained=True)
    assert torch.autograd.gradcheck(read, (x, *[v.detach().clone().requires_grad_() for v in memory.parameters()]))


def test_fixed_temperature_is_no_parameter_but_is_saved():
    memory = small(learn_temperature=False, temperature=1.)
    assert 'log_temperature' not in dict(memory.named_parameters())
    assert torch.equal(memory.state_dict()['log_temperature'], torch.zeros(3))


def test_measures_of_known_addressings():
    memory = HierarchicalMemory(num_feat=4, num_class=1, num_instance=1, num_part=4, temperature=1e-3, threshold=0.)
    with torch.no_grad():
        memory.weight.copy_(torch.eye(4))
    assert memory.measures() == {}
    memory.measure()
    memory.read(torch.eye(4)[None, :2], 'part')
    assert memory.measures() == pytest.approx(
        dict(entropy_part=0., information_part=.5, dead_part=.5, similarity_part=0.))
    memory.read(torch.ones(1, 7, 4), 'part')
    assert memory.measures() == pytest.approx(
        dict(entropy_part=1., information_part=0., dead_part=0., similarity_part=0.), abs=1e-6)
    assert memory.measures() == {}
    memory.measure(False)
    memory.read(torch.ones(1, 7, 4), 'part')
    assert memory.measures() == {}


def test_entropy_against_its_definition():
    memory, x = small(), torch.randn(1, 40, 6)
    memory.measure()
    weight = memory.read(x, 'part', return_attention=True)[1].detach().double().numpy()
    expected = -np.sum(weight * np.log(np.where(weight > 0, weight, 1)), -1).mean() / math.log(24)
    assert memory.measures()['entropy_part'] == pytest.approx(expected, rel=1e-5)


def test_similarity():
    memory = small()
    with torch.no_grad():
        memory.weight.copy_(memory.weight[:1].expand_as(memory.weight))
    torch.testing.assert_close(memory.similarity('instance'), torch.ones(6, 6))


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
        expected = insertion.proj_out(memory.read(insertion.proj_in(x), 'semantic', chained=True))
        torch.testing.assert_close(insertion(x, memory), expected if replace else x + expected)


def test_recalling_shuts_the_feature_out():
    memory, insertion = small(), MemoryInsertion(5, 6, recall=True)
    x = torch.randn(1, 9, 5)
    with recalling(insertion):
        out = insertion(x, memory)
        # within the span of what the memory holds, and of the same size whatever the feature's
        torch.testing.assert_close(out, insertion.proj_recall(memory.read(insertion.proj_in(x))))
    assert torch.equal(insertion(x, memory), x)
    with pytest.raises(UsageError, match='recall'), recalling(insertion):
        insertion.proj_recall = None
        insertion(x, memory)


def test_released_memory_starts_as_measured():
    torch.manual_seed(0)
    stds = [v.std((2, 3)).mean().item() for v in RawPixelMemory()(torch.rand(1, 3, 64, 64))]
    assert .01 < stds[0] < .06 and stds[1] < 1e-3 and stds[2] < 1e-5  # released: .03, 2e-4, 1e-7


@pytest.mark.parametrize('kwargs, word', [(dict(num_class=0), 'num_class'), (dict(temperature=0.), 'temperature'),
                                          (dict(top='whole'), "'whole'"), (dict(threshold_unit='percent'), 'percent')])
def test_wrong_arguments(kwargs, word):
    with pytest.raises(UsageError, match=word):
        HierarchicalMemory(**kwargs)


def test_wrong_features():
    memory = small(top='instance')
    with pytest.raises(UsageError, match='holds 6 channels, the features have 5'):
        memory.read(torch.rand(1, 5, 4, 4))
    with pytest.raises(UsageError, match='above'):
        memory.read(torch.rand(1, 6, 4, 4), 'semantic')
    with pytest.raises(UsageError, match='shape'):
        memory.read(torch.rand(6, 4))


def test_frozen_memory_keeps_its_start():
    memory, insertion = small(frozen=True), MemoryInsertion(5, 6, 'semantic', chained=True)
    assert not any(p.requires_grad for p in memory.parameters()) and len(list(memory.parameters())) == 6
    insertion(torch.randn(1, 9, 5), memory).sum().backward()
    assert insertion.proj_out.weight.grad.abs().sum() > 0


def test_shuffled_reads_are_the_reads_elsewhere():
    memory, plain, x = small(shuffled=True), small(), torch.randn(3, 6, 4, 5)
    torch.manual_seed(1)
    one, two, expected = memory.read(x), memory.read(x), plain.read(x)
    assert not torch.equal(one, expected) and not torch.equal(one, two)
    rows = [v.permute(0, 2, 3, 1).reshape(-1, 6).detach().numpy() for v in (one, expected)]
    np.testing.assert_allclose(*(v[np.lexsort(v.T)] for v in rows), rtol=1e-6)
    assert not np.array_equal(rows[0][:20].sum(0), rows[1][:20].sum(0)), 'they have left their picture'
    torch.testing.assert_close(memory.eval().read(x), memory.read(x), rtol=0, atol=0)


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


def test_centred_insertion_tells_features_with_a_large_mean_apart():
    x = 10 + torch.randn(1, 500, 5)
    found = {}
    for centred in (False, True):
        memory = small()
        memory.measure()
        insertion = MemoryInsertion(5, 6, centred=centred)
        assert torch.equal(insertion(x, memory), x)
        found[centred] = memory.measures()['information_part']
    assert found[False] < 0.02 < 0.2 < found[True]
