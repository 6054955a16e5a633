"""The networks in spandrel (https://github.com/chaiNNer-org/spandrel), which ComfyUI loads models with:

    import memnet_basicsr.spandrel, spandrel
    memnet_basicsr.spandrel.install()
    model = spandrel.ModelLoader().load_from_file('memnet_denoise_color.pth')

A network is found by the keys of its state dict, and its arguments are read from the shapes. What leaves no trace in
them takes its default: ``levels``, ``chained``, ``replace``, ``threshold``, ``top_k`` and ``group_size`` of a memory.
"""
import math
import re

from .archs.memnet_arch import MemNet
from .archs.memory_augmented_arch import MemoryAugmented
from .archs.memory_util import LEVELS
from .archs.memorynet_arch import MemoryNet
from .plugin.compat import provide_torchvision_operators

provide_torchvision_operators()  # spandrel imports torchvision

from spandrel import MAIN_REGISTRY, Architecture, ArchSupport, ImageModelDescriptor, UnsupportedModelError  # noqa: E402
from spandrel.util import KeyCondition, get_seq_len  # noqa: E402


def install(registry=MAIN_REGISTRY):
    """Register MemNet, MemoryNet and MemoryAugmented. Idempotent.

    Args:
        registry (spandrel.ArchRegistry): Registry. Default: the one that ``spandrel.ModelLoader`` uses.
    """
    archs = [MemNetArch(), MemoryNetArch(), MemoryAugmentedArch(registry)]
    registry.add(*map(ArchSupport.from_architecture, archs), ignore_duplicates=True)


class MemNetArch(Architecture):
    """MemNet in spandrel."""

    def __init__(self):
        keys = ('fenet.conv.weight', 'memory_blocks.0.gate.conv.weight', 'recon_conv.weight', 'recon_norms.0.weight')
        super().__init__(id='MemNet', detect=KeyCondition.has_all(*keys))

    def load(self, state_dict):
        """Build the network and load it."""
        num_ch, num_feat = state_dict['recon_conv.weight'].shape[:2]
        num_block = get_seq_len(state_dict, 'memory_blocks')
        num_recursion = get_seq_len(state_dict, 'memory_blocks.0.norm_a')
        # The last block tells most: its gate reads num_block long-term and num_recursion short-term features.
        sources = state_dict[f'memory_blocks.{num_block - 1}.gate.conv.weight'].shape[1] // num_feat
        num_in_ch = next(v for v in (3, 1, num_ch) if num_ch % v == 0 and math.isqrt(num_ch // v)**2 == num_ch // v)
        net = MemNet(
            num_in_ch=num_in_ch,
            num_feat=num_feat,
            num_block=num_block,
            num_recursion=num_recursion,
            multi_supervised='ensemble_weight' in state_dict,
            long_term=sources in (num_block + num_recursion, num_block + 1),
            short_term=sources in (num_block + num_recursion, num_recursion),
            shared_recursion=get_seq_len(state_dict, 'memory_blocks.0.conv_a') == 1,
            unshuffle=math.isqrt(num_ch // num_in_ch))
        return _descriptor(self, net, state_dict, num_in_ch)


class MemoryNetArch(Architecture):
    """MemoryNet in spandrel; without a memory also MPRNet, which has the same parameters."""

    def __init__(self):
        keys = ('shallow_feat1.0.weight', 'stage2_encoder.csff_enc1.weight', 'stage3_orsnet.orb1.body.0.body.0.weight',
                'sam12.conv1.weight', 'concat23.weight', 'tail.weight')
        super().__init__(id='MemoryNet', detect=KeyCondition.has_all(*keys))

    def load(self, state_dict):
        """Build the network and load it."""
        num_feat, num_in_ch, kernel_size = state_dict['shallow_feat1.0.weight'].shape[:3]
        attention = 'stage1_encoder.encoder_level{}.0.CA.conv_du.0.weight'
        hidden = [state_dict[attention.format(level)].shape[:2] for level in (1, 2, 3)]
        net = MemoryNet(
            num_in_ch=num_in_ch,
            num_out_ch=state_dict['tail.weight'].shape[0],
            num_feat=num_feat,
            scale_unetfeats=hidden[1][1] - num_feat,
            scale_orsnetfeats=state_dict['tail.weight'].shape[1] - num_feat,
            num_cab=get_seq_len(state_dict, 'stage3_orsnet.orb1.body') - 1,
            kernel_size=kernel_size,
            reduction=next(v for v in range(1, num_feat + 1) if all(wide // v == few for few, wide in hidden)),
            bias='shallow_feat1.0.bias' in state_dict,
            reconstruction='head.weight' in state_dict,
            patches='whole_image' not in state_dict,
            **self.memory_arguments(state_dict))
        return _descriptor(self, net, state_dict, num_in_ch)

    @staticmethod
    def memory_arguments(state_dict):
        """Arguments of the memory."""
        if 'memory.memory.weight' in state_dict:
            return dict(memory='released')
        if 'memory.weight' not in state_dict:
            return dict(memory='none')
        memory = _memory_arguments(state_dict)
        found = re.findall(r'insertions\.stage(\d)_(\w+?)\.proj_in\.weight', '\n'.join(state_dict))
        levels = [level if any(stage == str(i) for stage, _ in found) else None for i, level in enumerate(LEVELS, 1)]
        top = LEVELS.index(memory['top'])
        places = [place if place[-1].isdigit() else f'{place}3' for stage, place in found]
        return dict(memory='feature', memory_opt=memory, insert=list(dict.fromkeys(places)),
                    levels=[v and LEVELS[min(i, top)] for i, v in enumerate(levels)])  # yapf: disable


class MemoryAugmentedArch(Architecture):
    """MemoryAugmented in spandrel, over a backbone that spandrel finds by its state dict.

    Args:
        registry (spandrel.ArchRegistry): Where the backbone is looked for.
    """

    def __init__(self, registry):
        super().__init__(id='MemoryAugmented', detect=self.is_augmented)
        self.registry = registry

    @staticmethod
    def is_augmented(state_dict):
        """Whether a state dict has a backbone, a memory and insertions."""
        parts = ('memory.', 'backbone.', 'insertions.')
        return all(any(k.startswith(v) for k in state_dict) for v in parts)

    def load(self, state_dict):
        """Build the network and load it."""
        own = {k[len('backbone.'):]: v for k, v in state_dict.items() if k.startswith('backbone.')}
        try:
            backbone = self.registry.load(own)
        except UnsupportedModelError:
            raise UnsupportedModelError('MemoryAugmented: spandrel does not know its backbone') from None
        keys = dict.fromkeys(k.split('.')[1] for k in state_dict if k.startswith('insertions.'))
        names = {name.replace('.', '_'): name for name, _ in backbone.model.named_modules()}
        if set(keys) - set(names):
            raise UnsupportedModelError(f'MemoryAugmented: {backbone.architecture.name} has other names in spandrel')
        net = MemoryAugmented(
            backbone.model,
            insert_after=[names[v] for v in keys],
            memory=_design_arguments(state_dict) or _memory_arguments(state_dict),
            reconstruction=any(k.endswith('proj_recall.weight') for k in state_dict))
        return ImageModelDescriptor(
            net, state_dict, self, backbone.purpose, [], supports_half=False,
            supports_bfloat16=backbone.supports_bfloat16, scale=backbone.scale,
            input_channels=backbone.input_channels, output_channels=backbone.output_channels,
            size_requirements=backbone.size_requirements, tiling=backbone.tiling)  # yapf: disable


def _design_arguments(state_dict):
    """Arguments of the memories in memory_designs.py; None for another one."""
    for kind, slots in (('degradation', 'memory.keys'), ('dictionary', 'memory.tokens'), ('centers', 'memory.centers')):
        if slots in state_dict:
            num_slot, num_feat = state_dict[slots].shape
            return dict(type=kind, num_slot=num_slot, num_feat=num_feat)
    return None


def _memory_arguments(state_dict):
    """Arguments of HierarchicalMemory, and ``centred``."""
    number, num_feat = state_dict['memory.weight'].shape
    gates = [state_dict.get(f'memory.summaries.{i}.gate.weight') for i in (0, 1)]
    num_part, num_instance = (1 if v is None else v.shape[0] for v in gates)
    return dict(num_feat=num_feat, num_class=number // (num_part * num_instance), num_instance=num_instance,
                num_part=num_part, top=LEVELS[state_dict['memory.log_temperature'].shape[0] - 1],
                centred=any(k.endswith('.scaler.mean') for k in state_dict))  # yapf: disable


def _descriptor(arch, net, state_dict, channels):

    def call(net, img):
        if channels > 1 or img.shape[1] == 1:
            return net(img)
        # Programs such as ComfyUI give color images to all networks.
        n, c, h, w = img.shape
        return net(img.reshape(n * c, 1, h, w)).reshape(n, c, h, w)

    return ImageModelDescriptor(
        net, state_dict, arch, 'Restoration', [], supports_half=False, supports_bfloat16=True, scale=1,
        input_channels=channels, output_channels=channels, call_fn=call)  # yapf: disable
