"""The networks in spandrel, and the custom node in a stand-in for ComfyUI."""
import pytest
import runpy
import sys
import torch
import types
from pathlib import Path

from basicsr.archs import build_network
from memnet_basicsr.inference.weights import load_network, packaged_weights
from memnet_basicsr.spandrel import install  # before spandrel: makes torchvision import
from tests.networks import NETWORKS, build

spandrel = pytest.importorskip('spandrel')
ROOT = Path(__file__).resolve().parents[1]
FOUND = [v for v in NETWORKS if v != 'MemoryAugmented']  # over EDSR, which is not in spandrel


@pytest.fixture
def registry():
    registry = spandrel.MAIN_REGISTRY.copy()
    install(registry)
    return registry


def test_install_twice():
    install()
    install()
    assert {'MemNet', 'MemoryNet', 'MemoryAugmented'} <= {v.architecture.id for v in spandrel.MAIN_REGISTRY}


@pytest.mark.parametrize('name', sorted(packaged_weights()))
def test_packaged_weights(registry, name):
    net, description = load_network(name)
    model = spandrel.ModelLoader(registry=registry).load_from_file(packaged_weights()[name])
    assert model.architecture.id == description['network_g']['type']
    assert (model.scale, model.purpose, model.input_channels) == (1, 'Restoration', model.output_channels)
    x = torch.rand(1, model.input_channels, 21, 18)
    with torch.no_grad():
        assert torch.equal(model(x), net(x).clamp(0, 1))


@pytest.mark.parametrize('name', FOUND)
def test_arguments_are_read_from_shapes(registry, name):
    net = build(name).eval()
    model = registry.load(net.state_dict())
    x = torch.rand(1, model.input_channels, 19, 22)
    with torch.no_grad():
        assert torch.equal(model(x), net(x).clamp(0, 1))


BACKBONES = {
    'SwinIR': dict(type='SwinIR', img_size=16, in_chans=3, embed_dim=12, depths=[2, 2], num_heads=[2, 2],
                   window_size=8, mlp_ratio=2, upscale=2, upsampler='pixelshuffledirect'),
    'MemNet': dict(type='MemNet', num_in_ch=3, num_feat=4, num_block=2, num_recursion=1),
}  # yapf: disable


@pytest.mark.parametrize('name, insert_after, memory', [
    ('SwinIR', 'layers.*', dict(num_feat=6, num_class=3, centred=True)),
    ('MemNet', 'memory_blocks.1', dict(num_feat=6, num_class=3, centred=True)),
    ('MemNet', 'memory_blocks.*', dict(type='degradation', num_feat=6, num_slot=5)),
    ('MemNet', 'memory_blocks.*', dict(type='dictionary', num_feat=6, num_slot=5)),
    ('SwinIR', 'layers.1', dict(type='centers', num_feat=6, num_slot=5)),
])
def test_memory_augmented(registry, name, insert_after, memory):
    torch.manual_seed(0)
    net = build_network(
        dict(type='MemoryAugmented', backbone=BACKBONES[name], insert_after=insert_after, memory=memory)).eval()
    for insertion in net.insertions.values():
        last = insertion.film if memory.get('type') == 'degradation' else insertion.proj_out
        torch.nn.init.normal_(last.weight)
    model = registry.load(net.state_dict())
    assert model.architecture.id == 'MemoryAugmented' and model.scale == net.scale
    x = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(model(x), net(x).clamp(0, 1))


def test_unknown_backbone(registry):
    with pytest.raises(spandrel.UnsupportedModelError, match='does not know its backbone'):
        registry.load(build('MemoryAugmented').state_dict())


def test_networks_of_others_are_left_alone(registry):
    plain = build_network(dict(BACKBONES['SwinIR']))
    assert registry.load(plain.state_dict()).architecture.id == 'SwinIR'


def test_comfyui_node(monkeypatch):
    """ComfyUI imports the folder; its loader node then finds a bundled file by name and calls spandrel."""
    folders = {'upscale_models': []}

    def full_path(kind, name):
        return next(path for v in folders[kind] if (path := Path(v) / name).is_file())

    paths = types.ModuleType('folder_paths')
    paths.add_model_folder_path = lambda kind, path: folders[kind].append(path)
    monkeypatch.setitem(sys.modules, 'folder_paths', paths)
    node = runpy.run_path(str(ROOT / 'scripts' / 'comfyui' / 'memnet' / '__init__.py'))
    assert node['NODE_CLASS_MAPPINGS'] == {}

    state_dict = torch.load(full_path('upscale_models', 'memnet_denoise.pth'), weights_only=True)
    model = spandrel.ModelLoader().load_from_state_dict(state_dict).eval()
    assert isinstance(model, spandrel.ImageModelDescriptor)
    image = torch.rand(1, 24, 20, 3)  # ComfyUI's layout; all images are RGB
    restored = model(image.movedim(-1, -3)).movedim(-3, -1)
    net, _ = load_network('memnet_denoise')
    with torch.no_grad():
        wanted = [net(image[..., i][None]).clamp(0, 1)[0] for i in range(3)]
    torch.testing.assert_close(restored, torch.stack(wanted, dim=-1), atol=1e-6, rtol=0)
