import difflib
import fnmatch
import inspect
import textwrap
import torch
from copy import deepcopy
from torch import nn
from torch.nn import functional as F

from ..registry import ARCH_REGISTRY
from .memory_designs import DESIGNS
from .memory_util import HierarchicalMemory, MemoryInsertion, recalling


@ARCH_REGISTRY.register()
class MemoryAugmented(nn.Module):
    """Any registered network with a memory inserted after chosen submodules.

    The plug-and-play memory of Memory augment is All You Need for image restoration (https://arxiv.org/abs/2309.01377).
    The output of a submodule queries the memory, and the read is added to it through a zero-initialized projection. The
    network therefore starts bit-identical to the backbone, and checkpoints of the backbone load directly (the memory
    keeps its initialization). Features may be (N, C, H, W), tokens (N, L, C), or frames (N, T, C, H, W) and
    (N, C, T, H, W).

    Args:
        backbone (dict | nn.Module): ``type`` and arguments of the network, as in ``network_g``. It takes one tensor, an
            image or frames (N, T, C, H, W).
        insert_after (list[str] | str): Names of submodules as in ``named_modules``, or shell patterns that match
            between dots (``body.*`` matches body.0, body.1, ..., but not body.0.conv1).
        memory (dict | None): ``type`` and arguments of the memory: 'hierarchical' (HierarchicalMemory, and ``centred``
            of MemoryInsertion), or 'degradation', 'dictionary' or 'centers' (memory_designs.py), to which the next
            four arguments do not apply. Default: None, a HierarchicalMemory.
        level (str | list[str]): Level to read from, or one per insertion in the order of the network's modules; the
            last item applies to all remaining insertions. Default: 'part'.
        chained (bool): Whether to chain reads up to the level, see :meth:`HierarchicalMemory.read`. Default: False.
        replace (bool): Whether the read replaces the feature instead of being added. Default: False.
        reconstruction (bool): Whether to build the layers of :meth:`reconstruct`. Default: False.
        dry_size (int): Side in pixels of the zero image from which the channels are inferred. Default: 64.

    Raises:
        ValueError: If a name matches no network or submodule (the closest ones are listed), the network takes neither
            an image nor frames, or the output of a submodule is not a feature map.
    """

    def __init__(self,
                 backbone,
                 insert_after,
                 memory=None,
                 level='part',
                 chained=False,
                 replace=False,
                 reconstruction=False,
                 dry_size=64):
        super().__init__()
        self.backbone = backbone if isinstance(backbone, nn.Module) else build(backbone)
        given = {} if isinstance(backbone, nn.Module) else backbone
        names = self._matching([insert_after] if isinstance(insert_after, str) else insert_after)
        default = inspect.signature(type(self.backbone)).parameters.get('num_frame')
        num_frame = given.get('num_frame', default.default if default else 7)
        features, self.in_channels, self.scale = self._dry_run(names, dry_size, num_frame)
        modules = dict(self.backbone.named_modules())
        levels = [level] if isinstance(level, str) else list(level)
        memory = dict(memory or {})
        kind, centred = memory.pop('type', 'hierarchical'), memory.pop('centred', False)
        if kind not in ('hierarchical', *DESIGNS):
            raise ValueError(f"MemoryAugmented: memory: type must be hierarchical, {', '.join(DESIGNS)}, not {kind!r}.")
        if kind in DESIGNS and (level != 'part' or chained or replace or reconstruction or centred):
            raise ValueError('MemoryAugmented: level, chained, replace, reconstruction and centred need memory: type: '
                             'hierarchical.')
        bank, place = DESIGNS.get(kind, (HierarchicalMemory, None))
        self.memory = bank(**memory)
        self.insertions = nn.ModuleDict()
        levels += levels[-1:] * len(names)  # the last one for all others
        for name, own_level in zip(names, levels):
            key = name.replace('.', '_')
            num_feat, dim = features[name]
            self.insertions[key] = place(num_feat, self.memory.num_feat) if place else MemoryInsertion(
                num_feat, self.memory.num_feat, own_level, chained, replace, recall=reconstruction, centred=centred)
            modules[name].register_forward_hook(_Insertion(self, key, dim))
        # Read by the inference path for padding. BasicSR's transformers have it only in their arguments.
        declared = [getattr(self.backbone, v, None) for v in ('size_multiple', 'window_size')]
        for multiple in (*declared, given.get('window_size')):
            if isinstance(multiple, int):
                self.size_multiple = multiple
                break

    def forward(self, x):
        """Same as the forward pass of the backbone."""
        if hasattr(self.memory, 'observe'):
            self.memory.observe(x)
        return self.backbone(x)

    def reconstruct(self, x):
        """Reconstruct clean images from the memory: each insertion returns only its read.

        Skip connections of the backbone that bypass the insertions remain. For a super-resolution backbone, ``x`` is
        first downscaled (bicubic, antialiased), so that the result has the size of ``x``.

        Args:
            x (Tensor): (N, C, H, W), in [0, 1]; H and W multiples of the scale of the backbone.

        Returns:
            Tensor: (N, C, H, W).

        Raises:
            ValueError: If built with neither ``reconstruction`` nor ``replace``.
        """
        insertions = self.insertions.values()
        if not any(getattr(v, 'replace', False) or getattr(v, 'proj_recall', None) is not None for v in insertions):
            raise ValueError("MemoryAugmented: set 'reconstruction: true' in network_g to reconstruct from the memory")
        if self.scale > 1:
            images = x.flatten(0, -4)  # frames too
            images = F.interpolate(images, scale_factor=1 / self.scale, mode='bicubic', antialias=True)
            x = images.unflatten(0, x.shape[:-3])
        with recalling(self):
            out = self.backbone(x)
        return out[0] if isinstance(out, (list, tuple)) else out

    def adapt_state_dict(self, state):
        """Rename a state dict of the backbone and add the current memory; return other state dicts unchanged."""
        if any(name.startswith('backbone.') for name in state):
            return state
        own = {k: v for k, v in self.state_dict().items() if not k.startswith('backbone.')}
        return {**{f'backbone.{k}': v for k, v in state.items()}, **own}

    def load_state_dict(self, state_dict, *args, **kwargs):
        """Load a state dict of this network or of its backbone, see :meth:`adapt_state_dict`."""
        return super().load_state_dict(self.adapt_state_dict(state_dict), *args, **kwargs)

    def _matching(self, patterns):
        known = [name for name, _ in self.backbone.named_modules() if name]
        found = {pattern: {name for name in known if _matches(name, pattern)} for pattern in patterns}
        for pattern, names in found.items():
            if not names:
                near = difflib.get_close_matches(pattern, known, n=5, cutoff=0.3) or known[:5]
                raise ValueError(f"MemoryAugmented: insert_after: {type(self.backbone).__name__} has no submodule "
                                 f"'{pattern}'; closest match: {', '.join(near)}")
        return [name for name in known if any(name in names for names in found.values())]

    @torch.no_grad()
    def _dry_run(self, names, size, num_frame):
        """Channels of the submodules' outputs and their axis, channels of the input, output size over input size."""
        shapes, modules = {}, dict(self.backbone.named_modules())

        def note(name):
            return lambda module, args, output: shapes.update({name: tuple(getattr(output, 'shape', ()))})

        handles = [modules[name].register_forward_hook(note(name)) for name in names]
        training = self.backbone.training
        self.backbone.eval()
        x, out = self._try_inputs(size, num_frame)
        self.backbone.train(training)
        for handle in handles:
            handle.remove()
        features = {name: (shapes[name][dim], dim) for name, dim in self._axes(names, shapes, x)}
        return features, x.shape[-3], out.shape[-1] // size

    def _try_inputs(self, size, num_frame):
        """The first input that the backbone takes, an image or frames, and its output."""
        kernel = next((p for p in self.backbone.parameters() if p.dim() in (4, 5)), torch.empty(1, 3))
        reasons = {}
        for num_in_ch in dict.fromkeys((kernel.shape[1], 3, 1)):
            for kind, frames in (('image', ()), ('frames', (num_frame, ))):
                x = torch.zeros(1, *frames, num_in_ch, size, size)
                try:
                    out = self.backbone(x)
                    out = out[0] if isinstance(out, (list, tuple)) else out
                    if out.shape[-1] >= size:
                        return x, out
                    reasons[kind] = f'the output is {tuple(out.shape)}'
                except Exception as error:  # whatever a network raises for an input that it does not take
                    if kernel.is_meta and not isinstance(error, (TypeError, ValueError)):
                        raise  # an operator that does not work without data
                    reasons[kind] = textwrap.shorten(str(error) or type(error).__name__, 160)
        raise ValueError(
            f'MemoryAugmented: backbone: {type(self.backbone).__name__} does not map an image '
            f'(N, C, H, W) or frames (N, T, C, H, W) to an image: {"; ".join(dict.fromkeys(reasons.values()))}')

    @staticmethod
    def _axes(names, shapes, x):
        """Name and axis of the channels of each feature."""
        for name in names:
            shape = shapes.get(name, ())
            dims = {3: [2], 4: [1], 5: []}.get(len(shape), [])
            if len(shape) == 5 and x.dim() == 5:  # no more frames than the input has, or as many
                frames = x.shape[1]
                dims = [dim for dim in (1, 2) if shape[3 - dim] <= frames < shape[dim]]
                dims = dims or [dim for dim in (1, 2) if shape[3 - dim] == frames]
            if len(dims) != 1:
                raise ValueError(
                    f"MemoryAugmented: insert_after: '{name}' returns {shape or 'no tensor'}, but must return a "
                    'feature map (N, C, H, W), (N, L, C) or (N, T, C, H, W)')
            yield name, dims[0]


def build(backbone):
    """Build a registered network."""
    arguments = deepcopy(dict(backbone))
    name = arguments.pop('type')
    if name not in ARCH_REGISTRY:
        near = difflib.get_close_matches(str(name), ARCH_REGISTRY.keys(), n=3, cutoff=0.5)
        raise ValueError(f'MemoryAugmented: backbone: {name} is not registered'
                         f'{"; closest match: " if near else ""}{", ".join(near)}')
    return ARCH_REGISTRY.get(name)(**arguments)


def _matches(name, pattern):
    names, patterns = name.split('.'), pattern.split('.')
    return len(names) == len(patterns) and all(map(fnmatch.fnmatchcase, names, patterns))


class _Insertion:
    """Forward hook that adds the memory's read. Not a closure, so that ``deepcopy`` binds it to the copied network."""

    def __init__(self, owner, key, dim):
        self.owner, self.key, self.dim = owner, key, dim

    def __call__(self, module, args, output):
        insertion, memory = self.owner.insertions[self.key], self.owner.memory
        if output.dim() < 5:
            return insertion(output, memory)
        pixels = output.movedim(self.dim, -1)
        return insertion(pixels.flatten(1, 3), memory).view(pixels.shape).movedim(-1, self.dim)
