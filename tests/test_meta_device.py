"""On the meta device, which computes only shapes, every mix-up of devices and every hidden sync is an error."""
import contextlib
import copy
import pytest
import torch
from functools import partial

from basicsr.archs import build_network
from basicsr.losses import build_loss
from memnet_basicsr import fast
from memnet_basicsr.engine.muon import Muon
from memnet_basicsr.engine.step import TrainStep
from memnet_basicsr.inference import Inference
from memnet_basicsr.models.restoration_model import RestorationModel
from tests.networks import NETWORKS, build, image, outputs

META = torch.device('meta')
every_network = pytest.mark.parametrize('name', NETWORKS)


@pytest.fixture(autouse=True)
def no_autocast(monkeypatch):
    """The meta device has none."""
    monkeypatch.setattr(torch, 'autocast', lambda *args, **kwargs: contextlib.nullcontext())


@every_network
@pytest.mark.parametrize('recompute', [None, False, True])
def test_training(name, recompute):
    """Plain, the training form, and the one that recomputes."""
    net = build(name).train()
    net = net if recompute is None else fast.training(net, recompute)
    x = image(net).to(META)
    outs = outputs(net.to(META), x)
    sum(v.sum() for v in outs).backward()
    assert all(v.is_meta for v in outs)
    assert all(p.grad is not None and p.grad.is_meta for p in net.parameters())


@every_network
@pytest.mark.parametrize(
    'settings',
    [{}, dict(tile=16, tile_overlap=4),
     dict(self_ensemble=True), dict(precision='bf16')])
def test_inference(name, settings):
    inference = Inference(**settings)
    net = build(name).eval()
    x = image(net, 37, 21).to(META)
    out = inference(inference.prepare(net).to(META), x)
    assert out.is_meta and out.shape == x.shape and out.dtype == torch.float32


LOSSES = [
    dict(type='MultiSupervisedLoss'),
    dict(type='MultiSupervisedLoss', reduction='sum', alpha=0.5),
    dict(type='MultiOutputLoss', losses=[dict(type='CharbonnierLoss'),
                                         dict(type='EdgeLoss')]),
    dict(type='EdgeLoss'),
    dict(type='PSNRLoss'),
]


@pytest.mark.parametrize('opt', LOSSES, ids=lambda v: v['type'])
def test_losses(opt):
    target = torch.empty(2, 3, 16, 16, device=META)
    out = torch.empty_like(target, requires_grad=True)
    single = opt['type'] in ('EdgeLoss', 'PSNRLoss')
    loss = build_loss(copy.deepcopy(opt)).to(META)(out if single else [out, out], target)
    loss.backward()
    assert loss.is_meta and loss.shape == () and out.grad.is_meta


@pytest.mark.parametrize('role, terms', [('restorer', ['contrast']),
                                         ('encoder', ['contrast_encoder', 'contrast_local'])])
def test_contrastive_loss(role, terms):
    encoder = build_network(dict(type='ContrastEncoder', num_feat=4, num_embed=6)).to(META)
    images = [torch.empty(2, 3, 16, 16, device=META, requires_grad=True) for _ in range(3)]
    loss = build_loss(dict(type='ThreeClassContrastiveLoss', local_weight=1.))
    found = loss(*map(encoder, images), role=role)
    sum(found.values()).backward()
    assert list(found) == terms and images[0].grad.is_meta


def test_reconstruction():
    net = build('MemoryNet', reconstruction=True).train()
    x = image(net).to(META)
    out = net.to(META).reconstruct(x)
    out.sum().backward()
    assert out.is_meta and out.shape == x.shape


@pytest.mark.parametrize('optimizer', [partial(torch.optim.AdamW, foreach=True), Muon])
@pytest.mark.parametrize('name', ['MemNet', 'MemoryNet', 'MemoryAugmented'])
def test_step_syncs_once(name, optimizer, monkeypatch):
    net = fast.training(build(name).train())
    x = image(net).to(META)
    net.to(META)
    loss, synced, is_finite = build_loss(dict(type='MultiSupervisedLoss')), [], torch.isfinite

    def isfinite(value):
        synced.append(is_finite(value))
        return True  # the value itself is what the step waits for

    monkeypatch.setattr(torch, 'isfinite', isfinite)
    step = TrainStep({'accumulate': 2, 'grad_clip': {'norm': 1.}}, optimizer(net.parameters(), lr=1e-3), META)

    def losses(lq, gt):
        with step.autocast():
            out = net(lq)
        return {'l_pix': loss([v.float() for v in out] if isinstance(out, list) else out.float(), gt)}

    logged, done = step(net, (x, x), losses, 1)
    assert done and logged['l_pix'].is_meta and step.grad_norm.is_meta and len(synced) == 1


def test_average():
    model = RestorationModel.__new__(RestorationModel)
    model.net_g, model.net_g_ema = build('MemNet').to(META), build('MemNet').to(META)
    model.model_ema(decay=0.9)
    assert all(v.is_meta for v in model.net_g_ema.state_dict().values())
