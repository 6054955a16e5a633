import contextlib
import torch
from dataclasses import dataclass, fields

from .. import fast
from ..engine.step import DTYPES
from .ensemble import restore_by_ensemble
from .local_statistics import LocalStatistics
from .options import InferenceOptions
from .padding import pad_to_multiple
from .tiling import output_scale, restore_by_tiles, tile_spans


@dataclass(frozen=True)
class Inference:
    """Settings for applying a network to images of any size: one tensor in, one tensor out.

    Used by validation, the restorer and the command line. Holds no network. With the defaults, the network is called on
    the whole image, padded if the network declares that it needs padding.

    Args:
        tile (int | None): Side of the tiles in pixels of the input; None for the whole image at once. Default: None.
        tile_overlap (int | None): Smallest number of pixels that tiles share, at most half a tile; three eighths of it
            should cover the receptive field on one side of a pixel. None: 64, or half a tile if that is less.
            Default: None.
        self_ensemble (bool): Average over the eight flips and rotations. Default: False.
        precision (str): 'fp32', 'bf16' or 'fp16': autocast, unless the weights already have that dtype, as in a bf16
            network made by :meth:`prepare`. The result is always float32. Default: 'fp32'.
        pad_multiple (int | None): The image is reflect-padded to multiples of this many pixels, and the result is
            cropped. None reads the network's attribute ``size_multiple``, else ``window_size`` (BasicSR's
            transformers), else 1. Default: None.
        local_statistics (int | None): Side of the training patches in pixels of the input: global average pooling
            then averages over windows of 1.5 times that side (TLC). None keeps it global. Default: None.
        deploy (bool): Whether :meth:`prepare` returns the inference form of networks that have one. Default: True.

    Raises:
        UsageError: If a value is out of range or two values contradict each other.
    """
    tile: int | None = None
    tile_overlap: int | None = None
    self_ensemble: bool = False
    precision: str = 'fp32'
    pad_multiple: int | None = None
    local_statistics: int | None = None
    deploy: bool = True

    def __post_init__(self):
        InferenceOptions.read(vars(self))

    @property
    def overlap(self):
        """Smallest number of pixels that tiles share; there must be tiles."""
        return min(64, self.tile // 2) if self.tile_overlap is None else self.tile_overlap

    @classmethod
    def option_keys(cls):
        """Names of the options in the ``val:`` block of an option file.

        Returns:
            list[str]: Keys.
        """
        return [v.name for v in fields(cls)]

    @classmethod
    def from_options(cls, opt):
        """Build from a dict such as the ``val:`` block of an option file; other keys are ignored.

        Args:
            opt (dict | None): Options.

        Returns:
            Inference: The settings.

        Raises:
            UsageError: If a value is out of range or two values contradict each other.
        """
        options = InferenceOptions.read(opt)
        return cls(**{k: getattr(options, k) for k in cls.option_keys()})

    def prepare(self, net):
        """Return the fastest form of a network for inference; call again when its weights change.

        That is the form of :func:`memnet_basicsr.fast.inference`, in bfloat16 for ``precision='bf16'`` (autocast would
        convert the weights at every call). A network without such a form is returned as it is. ``net`` does not
        change, and no random numbers are drawn.

        Args:
            net (nn.Module): Network; may be in training mode.

        Returns:
            nn.Module: Network to pass to :meth:`__call__`; ``net`` itself with ``deploy=False``.
        """
        if not self.deploy:
            return net
        return fast.inference(net, torch.bfloat16 if self.precision == 'bf16' else None)

    @torch.no_grad()
    def __call__(self, net, lq):
        """Restore images.

        Args:
            net (nn.Module): Network that returns, in evaluation mode, one tensor (or a list, whose first entry is
                used) as large as its input or an integer number of times larger. Its mode is restored afterwards.
            lq (Tensor): Images, shape (n, c, h, w), float, range [0, 1]; may be on another device than the network.

        Returns:
            Tensor: Restored images, float32, not clipped, on the device of ``lq``, shape (n, c', h * s, w * s).
        """
        first = next(net.parameters(), lq)
        device, dtype = first.device, DTYPES[self.precision]
        casts = dtype not in (None, first.dtype)  # prepared networks already have the dtype
        multiple = self.pad_multiple or declared_multiple(net)

        def run(img):
            with torch.autocast(device.type, dtype, enabled=casts), self._statistics(img):
                out = net(img.to(device))
            return (out[0] if isinstance(out, (list, tuple)) else out).float()

        def run_padded(img):
            padded = pad_to_multiple(img, multiple)
            if self.tile is None:
                out = run(padded)
            else:
                out = restore_by_tiles(run, padded, self.tile, self.overlap, multiple)
            if padded is not img:
                scale = output_scale(out.shape[2:], padded.shape[2:])
                out = out[:, :, :img.size(2) * scale, :img.size(3) * scale]
            return out.to(lq.device)

        with _evaluating(net):
            return restore_by_ensemble(run_padded, lq) if self.self_ensemble else run_padded(lq)

    def forwards(self, net, height, width):
        """Number of calls of the network for one image.

        Args:
            net (nn.Module): Network.
            height (int): Height of the image in pixels.
            width (int): Width of the image in pixels.

        Returns:
            int: Number of calls.
        """
        multiple = self.pad_multiple or declared_multiple(net)
        number = 8 if self.self_ensemble else 1
        if self.tile is not None:
            for size in (height, width):
                size = -(-size // multiple) * multiple
                number *= len(tile_spans(size, self.tile, self.overlap, multiple))
        return number

    def _statistics(self, img):
        if self.local_statistics is None:
            return contextlib.nullcontext()
        return LocalStatistics(self.local_statistics, img.shape[2:])


def declared_multiple(net):
    """Number of pixels that both sides of a network's input must be multiples of.

    Args:
        net (nn.Module): Network; its attribute ``size_multiple`` is read, else ``window_size``.

    Returns:
        int: Multiple; 1 if the network declares nothing.
    """
    for name in ('size_multiple', 'window_size'):
        value = getattr(net, name, None)
        if isinstance(value, int):
            return value
    return 1


@contextlib.contextmanager
def _evaluating(net):
    training = [m for m in net.modules() if m.training]
    net.eval()
    try:
        yield
    finally:
        # one by one, since frozen modules stay in evaluation mode
        for module in training:
            module.training = True
