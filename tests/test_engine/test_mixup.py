import torch

from memnet_basicsr.engine.mixup import MixUp

LQ = torch.arange(4.).view(4, 1, 1, 1).expand(4, 1, 2, 2)
GT = 10 * LQ


def test_mixes_pairs_with_one_factor_and_one_partner():
    torch.manual_seed(0)
    lq, gt = MixUp({'mixing_augs': {'mixup': True}})(LQ, GT)
    assert torch.allclose(gt, 10 * lq) and not torch.equal(lq, LQ)
    assert torch.allclose(lq.mean(), LQ.mean())  # partners are a permutation
    torch.manual_seed(0)
    assert torch.equal(MixUp({'mixup': True})(LQ, GT)[0], lq)  # NAFNet's spelling, the same draw


def test_beta_decides_how_far():
    torch.manual_seed(0)
    factors = [float(torch.distributions.Beta(50., 50.).sample()) for _ in range(200)]
    assert abs(sum(factors) / 200 - 0.5) < 0.02
    mixed = MixUp({'mixing_augs': {'mixup': True, 'mixup_beta': 1000.}})
    first = torch.tensor([0., 1.]).view(2, 1, 1, 1)
    values = [float(mixed(first, first)[0][0]) for _ in range(40)]
    # the partner is the image itself, or the other one at half
    assert all(abs(v) < 0.1 or abs(v - 0.5) < 0.1 for v in values) and any(v > 0.4 for v in values)


def test_identity_and_off():
    torch.manual_seed(0)
    mix = MixUp({'mixing_augs': {'mixup': True, 'use_identity': True}})
    same = [mix(LQ, GT)[0] is LQ for _ in range(200)]
    assert 60 < sum(same) < 140
    assert MixUp({})(LQ, GT)[0] is LQ
