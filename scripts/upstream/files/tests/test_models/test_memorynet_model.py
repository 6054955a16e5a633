import os
import torch

from basicsr.models import build_model

PIXEL = dict(type='MultiOutputLoss', losses=[dict(type='L1Loss')])
NETWORK = dict(type='MemoryNet', num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1, reconstruction=True)


def build(folder, path=None, **train):
    return build_model(
        dict(
            model_type='MemoryNetModel',
            num_gpu=0,
            is_train=True,
            dist=False,
            network_g=dict(NETWORK),
            network_c=dict(type='ContrastEncoder', num_feat=4, num_down=2, num_embed=8),
            path=dict(models=str(folder), training_states=str(folder), **(path or {})),
            train=dict(
                ema_decay=0.9,
                optim_g=dict(type='Adam', lr=1e-3),
                optim_c=dict(type='Adam', lr=1e-3),
                scheduler=dict(type='MultiStepLR', milestones=[100], gamma=0.5),
                pixel_opt=PIXEL,
                **train)))


def test_memorynet_model(tmp_path):
    """Test model: MemoryNetModel with all terms, saving and resuming."""

    torch.manual_seed(0)
    terms = dict(
        reconstruction_opt=dict(type='MSELoss'), contrast_opt=dict(type='ThreeClassContrastiveLoss', local_weight=0.1))
    model = build(tmp_path, **terms)
    gt = torch.rand((2, 3, 16, 16), dtype=torch.float32)
    model.feed_data(dict(lq=gt + 0.1 * torch.randn_like(gt), gt=gt))
    params = [model.net_g.tail.weight, model.net_g.head.weight, model.net_g.memory.weight, *model.net_c.parameters()]
    before = [p.clone() for p in params]
    for current_iter in (1, 2):
        model.optimize_parameters(current_iter)
    assert set(model.log_dict) == {'l_pix', 'l_recon', 'l_contrast', 'l_contrast_encoder', 'l_contrast_local'}
    assert all(not torch.equal(p, q) for p, q in zip(before, params))
    model.test()
    assert model.output.shape == gt.shape

    model.save(epoch=0, current_iter=2)
    paths = {f'pretrain_network_{v}': os.path.join(str(tmp_path), f'net_{v}_2.pth') for v in 'gc'}
    resumed = build(tmp_path, path=paths, **terms)
    resumed.resume_training(torch.load(os.path.join(str(tmp_path), '2.state'), map_location='cpu'))
    for p, q in zip(model.net_c.parameters(), resumed.net_c.parameters()):
        assert torch.equal(p, q)


def test_restorer_does_not_train_encoder(tmp_path):
    """Test model: the term of the restorer changes net_g, not net_c."""

    torch.manual_seed(0)
    model = build(tmp_path, contrast_opt=dict(type='ThreeClassContrastiveLoss', encoder_weight=0.))
    before = [p.clone() for p in model.net_c.parameters()]
    gt = torch.rand((2, 3, 16, 16), dtype=torch.float32)
    model.feed_data(dict(lq=gt, gt=gt))
    model.optimize_parameters(1)
    assert set(model.log_dict) == {'l_pix', 'l_contrast'}
    assert all(torch.equal(p, q) for p, q in zip(before, model.net_c.parameters()))
