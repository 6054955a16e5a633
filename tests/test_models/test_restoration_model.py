import copy
import pytest
import torch
from torch import nn

from basicsr.models import build_model
from memnet_basicsr.engine import checkpoint
from memnet_basicsr.errors import UsageError
from tests.test_engine.tiny_runs import TinyNetForTests, assert_same, batch, model_options

L1 = {'type': 'L1Loss'}
MEMNET = {'type': 'MemNet', 'num_feat': 4, 'num_block': 2, 'num_recursion': 1}
MEMORYNET = {'type': 'MemoryNet', 'num_feat': 8, 'scale_unetfeats': 4, 'scale_orsnetfeats': 4, 'num_cab': 1}
MULTI = {'type': 'MultiOutputLoss', 'losses': [{'type': 'CharbonnierLoss'}]}
SR = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1}
NETWORKS = {  # options, loss, channels, scale, pixels
    'EDSR': ({'type': 'EDSR', **SR, 'upscale': 2}, L1, 3, 2, 12),
    'RRDBNet': ({'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3, 'scale': 2, 'num_feat': 8, 'num_block': 1,
                 'num_grow_ch': 4}, L1, 3, 2, 12),
    'SwinIR': ({'type': 'SwinIR', 'upscale': 1, 'in_chans': 1, 'img_size': 8, 'window_size': 4, 'img_range': 1.,
                'depths': [2], 'embed_dim': 8, 'num_heads': [2], 'mlp_ratio': 2, 'upsampler': '',
                'resi_connection': '1conv'}, L1, 1, 1, 8),
    'MemNet': (MEMNET, {'type': 'MultiSupervisedLoss'}, 1, 1, 12),
    'MemoryNet': (MEMORYNET, MULTI, 3, 1, 16),
}  # yapf: disable
TINY = dict(network_g={'type': 'TinyNetForTests'}, train__pixel_opt=L1, train__ema_decay=None, val=None)


def make(folder, **changes):
    return build_model(model_options(folder, **{**TINY, **changes}))


def train(model, count=3, start=1, **kwargs):
    for i in range(start, start + count):
        model.feed_data(batch(i, **kwargs))
        model.update_learning_rate(i)
        model.optimize_parameters(i)
    return model


def weights(model):
    return dict(model.get_bare_model(model.net_g).state_dict())


# ---- any network ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('name', NETWORKS)
def test_networks_train_average_validate_and_resume(tmp_path, name):
    network, loss, channels, scale, pixels = NETWORKS[name]
    changes = dict(network_g=network, train__pixel_opt=loss, train__ema_decay=0.5)
    torch.manual_seed(0)
    model = make(tmp_path, **changes)
    before = copy.deepcopy(weights(model))

    def data_of(i):
        sample = batch(i, 2, channels, pixels)
        return dict(sample, gt=nn.functional.interpolate(sample['gt'], scale_factor=scale))

    def step(model, i):
        model.feed_data(data_of(i))
        model.update_learning_rate(i)
        model.optimize_parameters(i)

    for i in (1, 2):
        step(model, i)
    trained = [k for k, p in model.net_g.named_parameters() if p.requires_grad]
    assert all(not torch.equal(before[k], weights(model)[k]) for k in trained)
    size = 13 if scale == 1 else 14  # RRDBNet halves its input first
    model.feed_data({'lq': batch(5, 1, channels, size)['lq']})
    model.test()
    assert model.output.shape == (1, channels, size * scale, size * scale)

    model.save(0, 2)
    state = checkpoint.load(str(tmp_path / '2.state'))
    again = make(tmp_path, **changes, path={'pretrain_network_g': str(tmp_path / 'net_g_2.pth'), 'strict_load_g': True})
    again.opt['path'] = model.opt['path']
    again.resume_training(state)
    for v in (model, again):
        torch.manual_seed(7)
        step(v, 3)
    assert_same(weights(model), weights(again))
    assert_same(dict(model.net_g_ema.state_dict()), dict(again.net_g_ema.state_dict()))
    assert_same(model.optimizer_g.state_dict(), again.optimizer_g.state_dict())


@pytest.mark.parametrize('network, channels, pixels', [(MEMNET, 1, 12), (MEMORYNET, 3, 16)])
def test_our_networks_in_stock_sr_model(tmp_path, network, channels, pixels):
    scheduler = {'type': 'MultiStepLR', 'milestones': [5]}
    opt = model_options(
        tmp_path,
        model_type='SRModel',
        network_g={
            **network, 'supervise': 'final'
        },
        train__pixel_opt=L1,
        train__optim_g={
            'type': 'Adam',
            'lr': 1e-3
        },
        train__scheduler=scheduler)
    model = build_model(opt)
    before = copy.deepcopy(weights(model))
    train(model, 2, channels=channels, pixels=pixels)
    assert any(not torch.equal(before[k], v) for k, v in weights(model).items())
    model.test()
    assert model.output.shape == model.gt.shape
    model.save(0, 2)
    assert set(checkpoint.load(str(tmp_path / 'net_g_2.pth'))) == {'params', 'params_ema'}


@pytest.mark.parametrize('loss', ['MultiSupervisedLoss', 'MultiOutputLoss'])
def test_all_outputs_in_stock_sr_model(tmp_path, loss):
    network, loss = (MEMNET, {'type': loss}) if loss == 'MultiSupervisedLoss' else (MEMORYNET, MULTI)
    opt = model_options(
        tmp_path,
        model_type='SRModel',
        network_g=network,
        train__pixel_opt=loss,
        train__optim_g={
            'type': 'Adam',
            'lr': 1e-3
        },
        train__scheduler={
            'type': 'MultiStepLR',
            'milestones': [5]
        })
    model = train(build_model(opt), 2, channels=3 if network is MEMORYNET else 1, pixels=16)
    assert model.log_dict['l_pix'] > 0 and isinstance(model.output, list)
    model.test()
    assert torch.is_tensor(model.output)


@pytest.mark.parametrize('network', [{**MEMNET, 'num_in_ch': 3}, MEMORYNET])
def test_generator_in_esrgan_with_unet_discriminator(tmp_path, network):
    opt = model_options(
        tmp_path,
        model_type='ESRGANModel',
        network_g={
            **network, 'supervise': 'final'
        },
        train={
            'ema_decay': 0.9,
            'total_iter': 4,
            'warmup_iter': -1,
            'net_d_iters': 1,
            'net_d_init_iters': 0,
            'optim_g': {
                'type': 'Adam',
                'lr': 1e-3
            },
            'optim_d': {
                'type': 'Adam',
                'lr': 1e-3
            },
            'scheduler': {
                'type': 'MultiStepLR',
                'milestones': [9]
            },
            'pixel_opt': L1,
            'gan_opt': {
                'type': 'GANLoss',
                'gan_type': 'vanilla',
                'real_label_val': 1.0,
                'fake_label_val': 0.0,
                'loss_weight': 0.1
            }
        })
    opt['network_d'] = {'type': 'UNetDiscriminatorSN', 'num_in_ch': 3, 'num_feat': 8, 'skip_connection': True}
    model = build_model(opt)
    before = copy.deepcopy(weights(model)), copy.deepcopy(dict(model.net_d.named_parameters()))
    train(model, 2, channels=3, pixels=32)
    assert any(not torch.equal(before[0][k], v) for k, v in weights(model).items())
    assert all(not torch.equal(before[1][k], v) for k, v in model.net_d.named_parameters())
    assert set(model.log_dict) == {
        'l_g_pix', 'l_g_gan', 'l_d_real', 'l_d_fake', 'out_d_real', 'out_d_fake'
    }  # yapf: disable
    model.save(0, 2)
    assert (tmp_path / 'net_d_2.pth').is_file()


# ---- options --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize('network, loss', [({'type': 'TinyNetForTests', 'norm': True}, L1),
                                           (MEMNET, {'type': 'MultiSupervisedLoss'})])  # yapf: disable
def test_with_everything_off_it_is_the_stock_model(tmp_path, network, loss):
    """The same weights, moments and losses as SRModel: bit for bit, or up to rounding with fused training units."""
    models = []
    for model_type in ('SRModel', 'RestorationModel'):
        torch.manual_seed(0)
        models.append(
            train(
                make(
                    tmp_path,
                    model_type=model_type,
                    network_g=network,
                    train__pixel_opt=loss,
                    train__optim_g={
                        'type': 'Adam',
                        'lr': 1e-2,
                        'weight_decay': 1e-3,
                        'betas': [0.9, 0.99]
                    },
                    train__scheduler={
                        'type': 'MultiStepLR',
                        'milestones': [3]
                    }), 5))
    states = [(weights(model), model.optimizer_g.state_dict()) for model in models]
    if network is MEMNET:
        for one, two in zip(states[0][0].values(), states[1][0].values()):
            if one.dim() == 4:  # the gradient of a bias in front of a BatchNorm is rounding only, which Adam amplifies
                torch.testing.assert_close(one, two, rtol=1e-2, atol=1e-3)
        assert models[0].log_dict == pytest.approx(models[1].log_dict, rel=1e-3)
    else:
        assert_same(*states)
        assert models[0].log_dict == dict(models[1].log_dict)


def test_average_holds_buffers_too(tmp_path):
    model = make(tmp_path, network_g={'type': 'TinyNetForTests', 'norm': True}, train__ema_decay=0.8)
    expected = {k: v.double() for k, v in copy.deepcopy(weights(model)).items()}
    for i in range(1, 6):
        train(model, 1, i)
        for k, v in weights(model).items():
            expected[k] = 0.8 * expected[k] + 0.2 * v.double() if v.is_floating_point() else v.double()
    averaged = model.net_g_ema.state_dict()
    assert averaged['norm.num_batches_tracked'] == 5
    assert not torch.equal(averaged['norm.running_var'], torch.ones(6))
    for k, v in expected.items():
        torch.testing.assert_close(averaged[k].double(), v, rtol=1e-5, atol=1e-6)


def test_fixed_norm_trains_what_inference_computes(tmp_path):
    """From fix_norm_iter on, the loss is that of the network in evaluation mode; statistics stay, scales learn."""
    opt = dict(network_g={'type': 'TinyNetForTests', 'norm': True}, train__fix_norm_iter=3)
    model = train(make(tmp_path, **opt), 2)
    model.net_g.eval()
    before, sample = copy.deepcopy(weights(model)), batch(3)
    with torch.no_grad():
        expected = nn.functional.l1_loss(model.net_g(sample['lq']), sample['gt'])
    model.net_g.train()
    train(model, 1, 3)
    assert model.log_dict['l_pix'] == pytest.approx(expected.item(), rel=1e-5)
    after = weights(model)
    assert torch.equal(after['norm.running_mean'], before['norm.running_mean'])
    assert not torch.equal(after['norm.weight'], before['norm.weight'])
    free = train(make(tmp_path, **{**opt, 'train__fix_norm_iter': 4}), 3)
    assert free.log_dict['l_pix'] != pytest.approx(expected.item(), rel=1e-3)


def test_average_warms_up(tmp_path):
    model = make(tmp_path, train__ema_decay=0.4, train__ema_warmup=True)
    expected = {k: v.clone() for k, v in weights(model).items()}
    for i, decay in ((1, 2 / 11), (2, 3 / 12), (3, 4 / 13), (4, 5 / 14), (5, 6 / 15), (6, 0.4)):
        train(model, 1, i)
        expected = {k: decay * v + (1 - decay) * weights(model)[k] for k, v in expected.items()}
    for name, value in model.net_g_ema.state_dict().items():
        assert torch.allclose(value, expected[name], rtol=1e-5, atol=1e-7)


def test_average_of_shared_parameters_and_constants(tmp_path):
    """MemoryNet has one PReLU under many names; a buffer that never changes must not drift."""
    model = make(tmp_path, network_g=MEMORYNET, train__pixel_opt=MULTI, train__ema_decay=0.9)
    slope = next(k for k in weights(model) if weights(model)[k].numel() == 1 and weights(model)[k] == 0.25)
    model.net_g.register_buffer('constant', torch.rand(50))
    model.net_g_ema.register_buffer('constant', model.net_g.constant.clone())
    expected = 0.25
    for i in range(1, 6):
        train(model, 1, i, channels=3, pixels=16)
        expected = 0.9 * expected + 0.1 * weights(model)[slope].item()
    assert model.net_g_ema.state_dict()[slope].item() == pytest.approx(expected, rel=1e-6)
    assert expected != pytest.approx(0.25, rel=1e-4)
    assert torch.equal(model.net_g_ema.constant, model.net_g.constant)


@pytest.mark.parametrize('changes', [
    dict(train__channels_last=True),
    dict(train__compile='eager'),
    dict(train__optim_g={'type': 'AdamW', 'lr': 1e-3, 'fused': True}),
    dict(train__accumulate=2),
    dict(train__sync_batchnorm=True),  # one process: nothing to do
])  # yapf: disable
def test_ways_to_compute_give_the_same_training(tmp_path, changes):
    results = []
    for options in ({}, changes):
        torch.manual_seed(0)
        results.append(train(make(tmp_path, **options), 4))
    assert list(weights(results[0])) == list(weights(results[1]))
    for k, v in weights(results[0]).items():
        torch.testing.assert_close(weights(results[1])[k], v, rtol=1e-4, atol=1e-6)
    if 'train__channels_last' in changes:
        assert results[1].net_g.tail.weight.is_contiguous(memory_format=torch.channels_last)
    if 'train__compile' in changes:
        assert results[1].net_g._compiled_call_impl is not None


@pytest.mark.parametrize('precision', ['bf16', 'fp16'])
def test_mixed_precision_trains_and_resumes(tmp_path, precision):
    torch.manual_seed(0)
    options = dict(network_g=MEMNET, train__pixel_opt={'type': 'MultiSupervisedLoss'}, train__precision=precision)
    model = make(tmp_path, **options)
    first = train(model, 1).log_dict['l_pix']
    for _ in range(15):
        train(model, 1)
    assert model.log_dict['l_pix'] < 0.9 * first
    assert all(v.dtype is torch.float32 for v in model.output)
    model.save(0, 16)
    state = checkpoint.load(str(tmp_path / '16.state'))
    assert bool(state['memnet_basicsr']['step']['scaler']) == (precision == 'fp16')


def test_bias_rate_follows_the_schedule(tmp_path):
    model = make(
        tmp_path,
        train__optim_g={
            'type': 'SGD',
            'lr': 0.1,
            'bias_lr_mult': 0.1
        },
        train__scheduler={
            'type': 'MultiStepLR',
            'milestones': [1],
            'gamma': 0.5
        })
    assert model.get_current_learning_rate() == pytest.approx([0.1, 0.01])
    train(model, 2)
    assert model.get_current_learning_rate() == pytest.approx([0.05, 0.005])


def test_a_skipped_step_leaves_the_average_alone(tmp_path):
    model = train(make(tmp_path, train__ema_decay=0.5), 2)
    before = copy.deepcopy(model.net_g_ema.state_dict())
    bad = batch(3)
    bad['lq'][0, 0, 0, 0] = float('nan')
    model.feed_data(bad)
    model.optimize_parameters(3)
    assert_same(dict(before), dict(model.net_g_ema.state_dict()))
    assert model.get_current_log()['skipped'] == 1


def test_log(tmp_path):
    model = make(tmp_path)
    train(model, 3)
    log = model.get_current_log()
    assert list(log) == ['l_pix', 'grad_norm', 'img_s', 'data_wait', 'mem_gb']
    grads = torch.cat([p.grad.flatten() for p in model.net_g.parameters()])
    assert log['grad_norm'] == pytest.approx(grads.norm().item(), rel=1e-5)
    assert log['img_s'] > 0 and 0 <= log['data_wait'] <= 1 and log['mem_gb'] > 0.01


# ---- checkpoints of others ------------------------------------------------------------------------------------------


def test_pretrained_weights_of_another_network_are_told_in_one_line(tmp_path):
    path = str(tmp_path / 'x.pth')
    torch.save({'params': TinyNetForTests(num_feat=5).state_dict()}, path)
    with pytest.raises(UsageError) as error:
        make(tmp_path, path__pretrain_network_g=path)
    assert str(error.value) == (
        f'{path} does not fit TinyNetForTests with the arguments in network_g: shape of head.weight '
        '(5, 1, 3, 3) instead of (6, 1, 3, 3), head.bias (5,) instead of (6,), tail.weight (1, 5, 3, 3) instead of '
        '(1, 6, 3, 3)')
    torch.save({'params': TinyNetForTests(norm=True).state_dict()}, path)
    with pytest.raises(
            UsageError, match=r'unexpected norm\.bias, norm\.num_batches_tracked, norm\.running_mean and 2 more'):
        make(tmp_path, path__pretrain_network_g=path)
    make(tmp_path, path__pretrain_network_g=path, path__strict_load_g=False)
    torch.save({'params': 1}, path)
    with pytest.raises(UsageError, match=r'x\.pth has no params'):
        make(tmp_path, path__pretrain_network_g=path)
    net = TinyNetForTests()
    torch.save(net.state_dict(), path)
    assert 'tail.bias' in checkpoint.load_for(net, path, param_key=None)
    torch.save({'params': {**net.state_dict(), 'tail.bias': torch.tensor([float('nan')])}}, path)
    with pytest.raises(UsageError, match=r'x\.pth: tail\.bias holds NaN or infinite values'):
        make(tmp_path, path__pretrain_network_g=path, path__strict_load_g=False)
    with pytest.raises(UsageError, match=r'none\.pth does not exist'):
        make(tmp_path, path__pretrain_network_g=str(tmp_path / 'none.pth'))


def test_pretrained_average_is_taken_up(tmp_path):
    source = train(make(tmp_path, train__ema_decay=0.5), 3)
    source.save(0, 3)
    path = str(tmp_path / 'net_g_3.pth')
    model = make(tmp_path, train__ema_decay=0.5, path__pretrain_network_g=path)
    assert_same(dict(model.net_g_ema.state_dict()), dict(source.net_g_ema.state_dict()))
    assert_same(weights(model), weights(source))


def test_frozen_parameters_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(TinyNetForTests, '__init__', frozen_init(TinyNetForTests.__init__))
    model = make(tmp_path)
    before = model.net_g.head.weight.clone()
    train(model, 2)
    assert torch.equal(before, model.net_g.head.weight)


def frozen_init(stock):

    def __init__(self, *args, **kwargs):
        stock(self, *args, **kwargs)
        self.head.weight.requires_grad = False

    return __init__
