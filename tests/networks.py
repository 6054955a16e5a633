"""Small configurations of every restoration network of the package, for tests over all of them."""
import torch

from basicsr.utils.registry import ARCH_REGISTRY

MEMNET = dict(type='MemNet', num_feat=8, num_block=3, num_recursion=2)
MEMORYNET = dict(type='MemoryNet', num_feat=8, scale_unetfeats=4, scale_orsnetfeats=4, num_cab=2, reduction=1)
EDSR = dict(type='EDSR', num_in_ch=3, num_out_ch=3, num_feat=8, num_block=2, upscale=1)
MEMORY = dict(num_feat=6, num_class=3)

NETWORKS = {
    'MemNet':
    MEMNET,
    'MemNet basic':
    dict(MEMNET, multi_supervised=False),
    'MemNet_NL':
    dict(MEMNET, long_term=False),
    'MemNet_NS':
    dict(MEMNET, short_term=False),
    'MemNet_NL_NS':
    dict(MEMNET, long_term=False, short_term=False),
    'MemNet unshared':
    dict(MEMNET, shared_recursion=False),
    'MemNet M1R1':
    dict(MEMNET, num_block=1, num_recursion=1),
    'MemNet color':
    dict(MEMNET, num_in_ch=3),
    'MemNet unshuffle':
    dict(MEMNET, num_in_ch=3, unshuffle=2),
    'MemoryNet backbone':
    dict(MEMORYNET, memory='none'),
    'MemoryNet released':
    dict(MEMORYNET, memory='released'),
    'MemoryNet':
    dict(MEMORYNET, memory='feature', memory_opt=MEMORY),
    'MemoryNet whole image':
    dict(MEMORYNET, memory='feature', memory_opt=MEMORY, patches=False),
    'MemoryNet bias':
    dict(MEMORYNET, memory='feature', memory_opt=dict(MEMORY, centred=True), bias=True),
    'MemoryAugmented':
    dict(type='MemoryAugmented', backbone=EDSR, insert_after=['body.1'], memory=dict(MEMORY, top='part')),
    'MemoryAugmented MemNet':
    dict(type='MemoryAugmented', backbone=dict(MEMNET, num_in_ch=3), insert_after='memory_blocks.*',
         memory=dict(type='degradation', num_feat=6, num_slot=5)),
}  # yapf: disable


def build(name, seed=0, **kwargs):
    """Build a network in float32 whose parameters and statistics all differ from their neutral start.

    Args:
        name (str): Key of ``NETWORKS``.
        seed (int): Seed of the weights. Default: 0.
        kwargs: Arguments that replace those of the configuration.
    """
    opt = {**NETWORKS[name], **kwargs}
    torch.manual_seed(seed)
    net = ARCH_REGISTRY.get(opt.pop('type'))(**opt)
    for key, value in net.state_dict().items():
        if key.endswith('running_var'):
            value.copy_(torch.rand(value.shape) + 0.5)
        elif value.is_floating_point() and (value.dim() < 2 or not value.any()):
            value.add_(0.1 * torch.randn(value.shape))
    return net


def image(net, height=16, width=24, dtype=torch.float32, seed=0):
    """Batch of two random images for a network."""
    first = next(m for m in net.modules() if isinstance(m, torch.nn.Conv2d))
    channels = first.in_channels // getattr(net, 'unshuffle', 1)**2
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(2, channels, height, width, generator=generator, dtype=dtype)


def outputs(net, x):
    """All outputs of a network as a list."""
    y = net(x)
    return list(y) if isinstance(y, (list, tuple)) else [y]
