import pytest
import torch
from collections import OrderedDict
from copy import deepcopy

from basicsr.models import build_model
from basicsr.utils import make_exp_dirs
from memnet_basicsr.archs.memory_util import HierarchicalMemory
from memnet_basicsr.errors import UsageError

NETWORK = dict(type='MemoryNet', num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=1, reconstruction=True,
               memory_opt=dict(num_feat=8, num_class=2, num_part=3))  # yapf: disable


def options(tmp_path, network_c=True, network=NETWORK, **train):
    opt = OrderedDict(
        name='tiny',
        model_type='MemoryNetModel',
        num_gpu=0,
        dist=False,
        rank=0,
        world_size=1,
        is_train=True,
        manual_seed=0,
        iters_per_epoch=10,
        datasets={'train': {}},
        network_g=deepcopy(network),
        path={k: str(tmp_path)
              for k in ('models', 'training_states', 'log', 'visualization')},
        logger={'print_freq': 1},
        train=dict(
            total_iter=10,
            optim_g=dict(type='Adam', lr=1e-3),
            optim_c=dict(type='Adam', lr=1e-3),
            scheduler=dict(type='CosineAnnealingRestartLR', periods=[10]),
            pixel_opt=dict(type='MultiOutputLoss', losses=[dict(type='L1Loss'),
                                                           dict(type='EdgeLoss')]),
            reconstruction_opt=dict(type='MSELoss'),
            contrast_opt=dict(type='ThreeClassContrastiveLoss', local_weight=0.5),
        ))
    opt['train'].update(train)
    if network_c:
        opt['network_c'] = dict(type='ContrastEncoder', num_feat=4, num_down=2, num_embed=6)
    return opt


def model_of(*args, **kwargs):
    torch.manual_seed(0)
    model = build_model(options(*args, **kwargs))
    generator = torch.Generator().manual_seed(1)
    gt = torch.rand(2, 3, 16, 16, generator=generator)
    model.feed_data(dict(lq=(gt + 0.1 * torch.randn(2, 3, 16, 16, generator=generator)), gt=gt))
    return model


def moved(before, net):
    return {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}


def snapshot(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


def test_every_term_is_trained_and_logged(tmp_path):
    model = model_of(tmp_path)
    before, before_c = snapshot(model.net_g), snapshot(model.net_c)
    model.optimize_parameters(1)
    log = model.get_current_log()
    terms = ('l_l1', 'l_edge', 'l_reconstruction', 'l_contrast', 'l_contrast_encoder', 'l_contrast_local')
    assert all(log[name] > 0 for name in terms)
    assert log['contrast_ratio'] == pytest.approx(log['l_contrast'] / log['l_reconstruction'])
    for level in ('part', 'instance', 'semantic'):
        assert 0 <= log[f'entropy_{level}'] <= 1
    mse = ((model.output[0].detach() - model.gt)**2).mean()
    assert log['psnr_1'] == pytest.approx(float(-10 * torch.log10(mse)), abs=1e-4)
    assert 'head.weight' in moved(before, model.net_g) and 'memory.weight' in moved(before, model.net_g)
    assert moved(before_c, model.net_c) == set(before_c)


def test_the_restorer_cannot_bend_the_encoder(tmp_path):
    model = model_of(
        tmp_path, contrast_opt=dict(type='ThreeClassContrastiveLoss', encoder_weight=0.), reconstruction_opt=None)
    before = snapshot(model.net_c)
    model.optimize_parameters(1)
    assert moved(before, model.net_c) == set()
    assert all(p.requires_grad for p in model.net_c.parameters())


def test_contrast_changes_the_restorers_gradient(tmp_path):
    grads = {}
    for weight in (0., 1.):
        model = model_of(
            tmp_path, contrast_opt=dict(type='ThreeClassContrastiveLoss', restorer_weight=weight), ema_decay=0)
        model.optimize_parameters(1)
        grads[weight] = model.net_g.tail.weight.grad.clone()
    assert not torch.allclose(grads[0.], grads[1.])


def test_recording_trains_the_memory_on_clean_images_alone(tmp_path):
    model = model_of(tmp_path, recording_iter=1)
    before, before_c = snapshot(model.net_g), snapshot(model.net_c)
    model.optimize_parameters(1)
    changed = moved(before, model.net_g)
    assert 'memory.weight' in changed and 'head.weight' in changed
    # the one PReLU of the network stands in every block, so that it has names in all stages
    assert not any(name.startswith(('stage3', 'tail', 'stage2')) for name in changed if before[name].numel() > 1)
    assert not moved(before_c, model.net_c)
    assert 'l_l1' not in model.get_current_log()
    model.optimize_parameters(2)
    assert 'tail.weight' in moved(before, model.net_g)


def test_the_last_stage_can_be_the_encoder(tmp_path):
    model = model_of(tmp_path, network_c=False)
    assert model.net_c is None
    model.optimize_parameters(1)
    assert {'l_contrast', 'l_contrast_encoder', 'l_contrast_local'} <= set(model.log_dict)


def test_a_bad_batch_leaves_the_encoder_alone(tmp_path):
    model = model_of(tmp_path)
    good, bad = model.lq.clone(), model.lq.clone()
    bad[0, 0, 0, 0] = float('nan')
    model.feed_data(dict(lq=bad, gt=model.gt))
    before = snapshot(model.net_c)
    model.optimize_parameters(1)
    assert not moved(before, model.net_c)
    model.feed_data(dict(lq=good, gt=model.gt))
    model.optimize_parameters(2)
    assert moved(before, model.net_c) and all(v.isfinite().all() for v in model.net_c.state_dict().values())


def test_the_encoders_loss_is_scaled_in_fp16(tmp_path):
    """Autocast on a CPU knows float16: a loss of 1e-6 would leave nothing of its gradients without the scale."""
    model = model_of(
        tmp_path,
        precision='fp16',
        optim_c=dict(type='SGD', lr=1e6),
        contrast_opt=dict(type='ThreeClassContrastiveLoss', encoder_weight=1e-6, local_weight=0.))
    exact = model_of(
        tmp_path,
        optim_c=dict(type='SGD', lr=1e6),
        contrast_opt=dict(type='ThreeClassContrastiveLoss', encoder_weight=1e-6, local_weight=0.))
    for m in (model, exact):
        before = snapshot(m.net_c)
        m.optimize_parameters(1)
        m.steps = torch.cat([(v - before[k]).flatten() for k, v in m.net_c.state_dict().items()])
    assert exact.steps.norm() > 0
    assert (model.steps - exact.steps).norm() < 0.1 * exact.steps.norm()


def test_fp16_trains_as_fp32(tmp_path):
    """All terms, through the scaled losses of both networks."""
    logs = []
    for precision in ('fp32', 'fp16'):
        model = model_of(tmp_path, precision=precision)
        for i in range(1, 9):
            model.update_learning_rate(i)
            model.optimize_parameters(i)
        assert model.step.skipped == model.step_c.skipped == 0
        logs.append(dict(model.log_dict))
    assert logs[0].keys() == logs[1].keys() and len(logs[0]) >= 6
    for name, value in logs[0].items():
        assert logs[1][name] == pytest.approx(value, rel=5e-3), name


def test_contrast_needs_pairs(tmp_path):
    """Accumulation leaves one image a part."""
    with pytest.raises(UsageError, match=r'train: contrast_opt: .*batches of 2 images or more'):
        model_of(tmp_path, accumulate=2).optimize_parameters(1)


def test_the_encoder_is_saved_and_resumed(tmp_path):
    model = model_of(tmp_path)
    model.optimize_parameters(1)
    model.save(0, 1)
    state = torch.load(tmp_path / '1.state', weights_only=True)
    opt = options(tmp_path)
    opt['path'].update(pretrain_network_g=str(tmp_path / 'net_g_1.pth'),
                       pretrain_network_c=str(tmp_path / 'net_c_1.pth'))  # yapf: disable
    again = build_model(opt)
    again.resume_training(state)
    again.feed_data(dict(lq=model.lq, gt=model.gt))
    for m in (model, again):
        m.optimize_parameters(2)
    assert not moved(snapshot(model.net_c), again.net_c) and not moved(snapshot(model.net_g), again.net_g)


def test_abnormality_is_the_error_of_the_reconstruction(tmp_path):
    model = model_of(tmp_path)
    model.val_options = model.ValOptions(abnormality=True)
    model.test()
    visuals = model.get_current_visuals()
    net = model.net_g.eval()
    with torch.no_grad():
        expected = (net.reconstruct(model.lq) - model.lq).abs().mean(1, keepdim=True)
    assert torch.equal(visuals['abnormality'], expected)


def test_failures_are_told_once(tmp_path, log):
    model = model_of(tmp_path)
    for module in model.net_g.modules():
        if isinstance(module, HierarchicalMemory):
            module.log_temperature.data.fill_(5.)  # nearly uniform
    for k in range(2):
        model.optimize_parameters(k + 1)
        model.get_current_log()
    assert len([r for r in log.records if 'nearly uniform' in r.message]) == 1, [r.message for r in log.records]


def test_constant_reads_are_told(tmp_path, log):
    model = model_of(tmp_path)
    for insertion in model.net_g.insertions.values():
        torch.nn.init.zeros_(insertion.proj_in.weight)  # all queries are the bias
    model.optimize_parameters(1)
    assert model.get_current_log()['information_part'] == pytest.approx(0, abs=1e-4)
    assert 'acts as a bias' in log.text


def test_memory_of_another_training(tmp_path):
    other = model_of(tmp_path)
    for value in other.net_g.memory.parameters():
        value.data.add_(1)
    other.save(0, 1)
    opt = options(tmp_path, network=deepcopy(NETWORK))
    opt['network_g'].update(type='MemoryNetControl', frozen=True)
    opt['path']['pretrain_network_memory'] = str(tmp_path / 'net_g_1.pth')
    torch.manual_seed(9)
    model = build_model(opt)
    model.feed_data(dict(lq=other.lq, gt=other.gt))
    before = snapshot(model.net_g)
    model.optimize_parameters(1)
    for name, value in other.net_g.memory.state_dict().items():
        assert torch.equal(model.net_g.memory.state_dict()[name], value), 'frozen'
    assert not torch.equal(model.net_g.tail.weight, other.net_g.tail.weight), 'the rest is not taken'
    assert 'tail.weight' in moved(before, model.net_g)

    opt = options(tmp_path, network=deepcopy(NETWORK))
    opt['network_g']['memory_opt']['num_class'] = 3
    opt['path']['pretrain_network_memory'] = str(tmp_path / 'net_g_1.pth')
    with pytest.raises(UsageError, match=r'weight \(\d+, 8\) instead of'):
        build_model(opt)


def test_basicsr_takes_the_path_for_a_file(tmp_path):
    """It makes folders of all paths whose option has another name."""
    path = tmp_path / 'other' / 'net_g_latest.pth'
    make_exp_dirs(dict(is_train=True, path=dict(experiments_root=str(tmp_path / 'run'),
                                                pretrain_network_memory=str(path))))  # yapf: disable
    assert not path.exists()


def test_a_resumed_run_keeps_its_own_memory(tmp_path):
    other = model_of(tmp_path)
    other.save(0, 1)
    opt = options(tmp_path)
    opt['path'].update(pretrain_network_memory=str(tmp_path / 'net_g_1.pth'), resume_state=str(tmp_path / '1.state'))
    torch.manual_seed(9)
    model = build_model(opt)
    assert not torch.equal(model.net_g.memory.weight, other.net_g.memory.weight)


def test_the_memory_can_learn_faster(tmp_path):
    steps = {}
    for mult in (1, 10):
        optim_g = dict(options(tmp_path)['train']['optim_g'], lr_mult={'memory.*': mult})
        model = model_of(tmp_path, optim_g=optim_g)
        before = snapshot(model.net_g)
        model.update_learning_rate(1)
        model.optimize_parameters(1)
        groups = model.optimizer_g.param_groups
        assert sum(len(v['params']) for v in groups) == len(list(model.net_g.parameters()))
        steps[mult] = {name: (model.net_g.state_dict()[name] - before[name]).abs().amax().item()
                       for name in ('memory.weight', 'head.weight')}  # yapf: disable
    # Adam's first step is the learning rate
    assert steps[10]['memory.weight'] == pytest.approx(10 * steps[1]['memory.weight'], rel=1e-3)
    assert steps[10]['head.weight'] == pytest.approx(steps[1]['head.weight'], rel=1e-3)


def test_the_encoder_has_rates_of_parts_too(tmp_path):
    model = model_of(tmp_path, optim_c=dict(type='Adam', lr=1e-3, lr_mult={'*': 0.5}))
    assert [v['lr'] for v in model.optimizer_c.param_groups] == [5e-4]
    with pytest.raises(UsageError, match=r"train: optim_c: lr_mult: 'nowhere\.\*' matches no trainable parameter"):
        model_of(tmp_path, optim_c=dict(type='Adam', lr=1e-3, lr_mult={'nowhere.*': 0.5}))


@pytest.mark.parametrize('change, message', [
    (dict(network=dict(NETWORK, type='MemoryNetControl', frozen=True),
          optim_g=dict(type='Adam', lr=1e-3, lr_mult={'memory.*': 2})), 'no trainable parameter'),
    (dict(network=dict(type='MSRResNet', num_in_ch=3, num_out_ch=3, num_feat=4, num_block=1, upscale=2)),
     'MSRResNet has no method reconstruct'),
    (dict(optim_c=None), 'optim_c is missing'),
    (dict(reconstruction_opt=None, recording_iter=3), 'recording_iter: needs reconstruction_opt'),
])  # yapf: disable
def test_what_does_not_fit_is_told(tmp_path, change, message):
    with pytest.raises(UsageError, match=message):
        build_model(options(tmp_path, **change))
