import numpy as np
import pytest
import torch

from memnet_basicsr.analysis.memory.supervised_outputs import ensemble_weights, psnr_of_outputs, supervised_outputs
from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.errors import UsageError
from tests.reference.memnet_plain import PlainMemNet

SMALL = {'num_feat': 4, 'num_block': 3, 'num_recursion': 2}


def nets(**kwargs):
    """A network with nontrivial running statistics, and the plain network with the same weights."""
    torch.manual_seed(0)
    net, plain = MemNet(**SMALL, **kwargs), PlainMemNet(**SMALL)
    for _ in range(2):  # moves the running statistics away from 0 and 1
        net.train()(torch.rand(2, 1, 16, 16))
    with torch.no_grad():
        net.ensemble_weight.copy_(torch.tensor([-.1, .4, .8]))
    plain.load_state_dict(net.state_dict())
    return net, plain.eval()


@pytest.mark.parametrize('supervise', ['all', 'final'])
def test_outputs_equal_those_of_the_plain_network(supervise):
    net, plain = nets(supervise=supervise)
    statistics = {k: v.clone() for k, v in net.state_dict().items()}
    lq = torch.rand(1, 1, 13, 17)
    ours = supervised_outputs(net, lq)
    with torch.no_grad():
        theirs = plain(lq)
        torch.testing.assert_close(ours[0], net(lq))
    assert len(ours) == 4
    for a, b in zip(ours, theirs):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-5)
    assert not any(v.training for v in net.modules()) and net.supervise == supervise
    assert all(torch.equal(v, statistics[k]) for k, v in net.state_dict().items())


@pytest.mark.parametrize('shave, quantize', [(0, False), (2, True)])
def test_psnr_of_each_output_against_direct_computation(shave, quantize):
    net, plain = nets()
    pairs = [{'lq': torch.rand(1, 14, 12), 'gt': torch.rand(1, 14, 12)} for _ in range(2)]
    lq, outputs, result = psnr_of_outputs(net, pairs, shave, quantize)
    expected = []
    for pair in pairs:
        with torch.no_grad():
            final, *others = (v[0, 0].double().numpy() for v in plain(pair['lq'][None]))
        images = [pair['lq'][0].double().numpy(), *others, final]
        gt = pair['gt'][0].double().numpy()
        if quantize:
            images = [np.round(255 * v.clip(0, 1)) / 255 for v in images]
            gt = np.round(255 * gt) / 255
        inner = np.s_[shave:14 - shave, shave:12 - shave]
        expected.append([-10 * np.log10(np.mean((v - gt)[inner]**2)) for v in images])
    np.testing.assert_allclose([lq, *outputs, result], np.mean(expected, axis=0), atol=1e-3 if quantize else 1e-5)


def test_ensemble_weights():
    assert ensemble_weights(nets()[0]) == pytest.approx([-.1, .4, .8])
    with pytest.raises(UsageError, match='basic MemNet'):
        ensemble_weights(MemNet(**SMALL, multi_supervised=False))
