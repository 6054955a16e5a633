import pytest
import torch
from copy import deepcopy

from basicsr.archs import build_network
from memnet_basicsr.archs.memory_augmented_arch import MemoryAugmented
from memnet_basicsr.engine import checkpoint

BACKBONES = {
    'EDSR': (dict(type='EDSR', num_in_ch=3, num_out_ch=3, num_feat=8, num_block=2, upscale=2), ['body.*'], 2),
    'RRDBNet': (dict(type='RRDBNet', num_in_ch=3, num_out_ch=3, scale=4, num_feat=8, num_block=2,
                     num_grow_ch=4), ['body.0', 'body.1'], 4),
    'SwinIR': (dict(type='SwinIR', img_size=16, in_chans=3, embed_dim=12, depths=[2, 2], num_heads=[2, 2],
                    window_size=8, mlp_ratio=2, upscale=1, upsampler=''), ['layers.*'], 1),
}  # yapf: disable
MEMORY = dict(num_feat=6, num_class=2, num_part=3)


def build(name, **kwargs):
    backbone, insert_after, scale = BACKBONES[name]
    torch.manual_seed(0)
    net = build_network(dict(type='MemoryAugmented', backbone=backbone, insert_after=insert_after, memory=MEMORY,
                             dry_size=16, **kwargs))  # yapf: disable
    return net, scale


@pytest.mark.parametrize('name', BACKBONES)
def test_starts_as_the_backbone_and_opens(name):
    net, scale = build(name)
    torch.manual_seed(0)
    plain = build_network(BACKBONES[name][0])
    x = torch.rand(2, 3, 16, 24)
    with torch.no_grad():
        assert torch.equal(net.eval()(x), plain.eval()(x))
    assert len(net.insertions) == 2
    # after one step in a random direction the memory takes part
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    target = torch.rand(2, 3, 16 * scale, 24 * scale)
    for _ in range(2):
        optimizer.zero_grad()
        (net.train()(x) - target).abs().mean().backward()
        optimizer.step()
    assert net.memory.weight.grad.abs().sum() > 0
    with torch.no_grad():
        before = net.eval()(x)
        net.memory.weight.mul_(-1)
        assert not torch.equal(net(x), before)


@pytest.mark.parametrize('name', BACKBONES)
def test_loads_checkpoints_of_the_backbone(name):
    torch.manual_seed(5)
    plain = build_network(BACKBONES[name][0]).eval()
    net, _ = build(name)
    net.load_state_dict(plain.state_dict(), strict=True)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(net.eval()(x), plain(x))
    again, _ = build(name)
    again.load_state_dict(net.state_dict(), strict=True)
    broken = plain.state_dict()
    broken.pop(next(iter(broken)))
    with pytest.raises(RuntimeError, match='Missing key'):
        net.load_state_dict(broken, strict=True)


def test_training_starts_from_weights_of_the_backbone(tmp_path):
    plain = build_network(BACKBONES['EDSR'][0])
    net, _ = build('EDSR')
    path = str(tmp_path / 'plain.pth')
    torch.save({'params': plain.state_dict()}, path)
    params = checkpoint.load_for(net, path)['params']
    assert params.keys() == net.state_dict().keys()  # so BasicSR lists no missing or unexpected name
    assert all(torch.equal(params[f'backbone.{name}'], value) for name, value in plain.state_dict().items())
    torch.save(plain.state_dict(), path)
    assert checkpoint.load_for(net, path, param_key=None).keys() == params.keys()


def test_copies_have_a_memory_of_their_own():
    net, _ = build('EDSR')
    for insertion in net.insertions.values():
        torch.nn.init.ones_(insertion.proj_out.weight)
    other = deepcopy(net)
    x = torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        before = net.eval()(x)
        other.memory.weight.mul_(3)
        assert torch.equal(net(x), before)
        assert not torch.equal(other.eval()(x), before)


@pytest.mark.parametrize('name', ['EDSR', 'SwinIR'])
def test_reconstructs_clean_images(name):
    net, _ = build(name, reconstruction=True)
    x = torch.rand(2, 3, 32, 32)
    found = net.train().reconstruct(x)
    assert found.shape == x.shape
    (found - x).square().mean().backward()
    assert net.memory.weight.grad.abs().sum() > 0
    with pytest.raises(ValueError, match='reconstruction: true'):
        build(name)[0].reconstruct(x)


def test_levels_are_given_in_order():
    net, _ = build('EDSR', level=['part', 'semantic'])
    assert [v.level for v in net.insertions.values()] == ['part', 'semantic']


def test_wrong_names_list_near_ones():
    backbone = BACKBONES['EDSR'][0]
    with pytest.raises(ValueError, match=r"no submodule 'bodi.0'; closest match: body.0"):
        build_network(dict(type='MemoryAugmented', backbone=backbone, insert_after='bodi.0'))
    with pytest.raises(ValueError, match=r'backbone: EDRS is not registered; closest match: .*EDSR'):
        build_network(dict(type='MemoryAugmented', backbone=dict(backbone, type='EDRS'), insert_after='body.0'))


# ---- frames ---------------------------------------------------------------------------------------------------------


class Frames(torch.nn.Module):
    """(N, T, C, H, W) in, (N, C, H, W) out; features on axis 2, or on axis 1 where the frames come second."""

    def __init__(self, num_frame=5):
        super().__init__()
        self.first, self.last = torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.Conv3d(8, 3, (num_frame, 1, 1))
        self.frames, self.volume = torch.nn.Identity(), torch.nn.Identity()

    def forward(self, x):
        n, t, c, h, w = x.shape
        feat = self.frames(self.first(x.view(-1, c, h, w)).view(n, t, -1, h, w))
        return self.last(self.volume(feat.transpose(1, 2))).squeeze(2)


@pytest.mark.parametrize('name, dim', [('frames', 2), ('volume', 1), ('first', None)])
def test_features_of_frames(name, dim):
    torch.manual_seed(0)
    net = MemoryAugmented(Frames(), name, MEMORY, dry_size=8).eval()
    insertion = net.insertions[name]
    assert insertion.proj_in.in_features == 8 and net.scale == 1
    torch.nn.init.normal_(insertion.proj_out.weight)
    seen = {}
    getattr(net.backbone, name).register_forward_hook(lambda m, args, out: seen.update(plain=args[0], joined=out))
    net(torch.rand(2, 5, 3, 9, 7))
    if dim is not None:  # the read of one pixel of one frame, alone
        pixel = seen['plain'].movedim(dim, -1)[1, 2, 3, 4].view(1, 8, 1, 1)
        wanted = insertion(pixel, net.memory).flatten()
        torch.testing.assert_close(seen['joined'].movedim(dim, -1)[1, 2, 3, 4], wanted)


@pytest.mark.parametrize('backbone, insert_after', [
    (dict(type='BasicVSR', num_feat=8, num_block=1), 'backward_trunk'),
    (dict(type='DUF', scale=4, num_layer=16), 'dense_block2'),
    (dict(type='EDVR', num_feat=16, num_frame=7, deformable_groups=2, num_extract_block=1, num_reconstruct_block=1),
     'reconstruction'),
], ids=['BasicVSR', 'DUF', 'EDVR'])  # yapf: disable
def test_networks_for_frames(backbone, insert_after):
    if backbone['type'] == 'EDVR' and not hasattr(torch.ops.torchvision, 'deform_conv2d'):
        pytest.skip('the operators of torchvision do not fit this torch')
    net = build_network(dict(type='MemoryAugmented', backbone=backbone, insert_after=insert_after, memory=MEMORY))
    with torch.no_grad():
        assert net.eval()(torch.rand(1, 7, 3, 64, 64)).shape[-3:] == (3, 256, 256)


@pytest.mark.parametrize('backbone, insert_after, reason', [
    (dict(type='SpyNet'), 'basic_module.0', "missing 1 required positional argument: 'supp'"),
    (dict(type='StyleGAN2Generator', out_size=32, num_style_feat=16, num_mlp=1), 'style_conv1', 'not map an image'),
    (dict(type='VGGStyleDiscriminator', num_in_ch=3, num_feat=4), 'conv0_0', 'does not map an image'),
    (dict(type='MemNet', num_feat=4, num_block=1, num_recursion=1), 'recon_norms', 'returns no tensor'),
], ids=['two inputs', 'latent input', 'no image', 'module that is not called'])  # yapf: disable
def test_what_does_not_fit_is_refused_in_one_line(backbone, insert_after, reason):
    with pytest.raises(ValueError, match='^MemoryAugmented: .*' + reason) as error:
        build_network(dict(type='MemoryAugmented', backbone=backbone, insert_after=insert_after, memory=MEMORY))
    assert len(str(error.value).splitlines()) == 1
