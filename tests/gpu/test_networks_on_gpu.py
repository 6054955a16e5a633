"""What the CPU gives, a GPU gives. Skipped without a GPU; scripts/gpu_check.sh runs this folder."""
import copy
import pytest
import torch

from basicsr.losses import build_loss
from memnet_basicsr import fast
from memnet_basicsr.engine.step import TrainStep
from memnet_basicsr.inference import Inference
from tests.networks import NETWORKS, build, image, outputs

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
every_network = pytest.mark.parametrize('name', NETWORKS)


@every_network
def test_training_forms(name):
    net = build(name).double().train()
    x, grads = image(net, dtype=torch.float64), []
    for device, form in (('cpu', net), ('cuda', fast.training(copy.deepcopy(net)))):
        form.to(device)
        sum(v.square().sum() for v in outputs(form, x.to(device))).backward()
        grads.append([p.grad.cpu() for p in form.parameters()])
    for one, two in zip(*grads):
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)


@every_network
@pytest.mark.parametrize('settings', [{}, dict(tile=32, tile_overlap=4), dict(self_ensemble=True)])
def test_inference(name, settings):
    inference, net = Inference(**settings), build(name).eval()
    x = image(net, 37, 21)
    want = inference(copy.deepcopy(net).double(), x.double())
    out = inference(inference.prepare(net).to('cuda'), x.cuda()).cpu().double()
    scale = want.abs().max()
    torch.testing.assert_close(out / scale, want.double() / scale, rtol=0, atol=1e-2)  # TF32 of convolutions


@pytest.mark.parametrize('precision', ['fp32', 'bf16', 'fp16'])
def test_step_lowers_the_loss(precision):
    net = fast.training(build('MemNet').train()).cuda()
    step = TrainStep({'precision': precision, 'grad_clip': {'norm': 1.}}, torch.optim.AdamW(net.parameters(), 1e-3),
                     torch.device('cuda'))  # yapf: disable
    x, loss, values = image(net).cuda(), build_loss(dict(type='MultiSupervisedLoss')), []

    def losses(lq, gt):
        with step.autocast():
            out = net(lq)
        return {'l_pix': loss([v.float() for v in out], gt)}

    for i in range(30):
        logged, _ = step(net, (x, x), losses, i)
        values.append(float(logged['l_pix']))
    assert min(values[-5:]) < 0.7 * values[0]
