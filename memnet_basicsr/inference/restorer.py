import inspect
import torch
from torch.nn import functional as F

from ..data.bicubic_util import resize_bicubic
from ..errors import UsageError
from .arrays import to_batch
from .color import rgb_to_ycbcr, ycbcr_to_rgb
from .inference import Inference
from .weights import load_network

# what networks call the number of channels of their input
CHANNEL_ARGUMENTS = ('num_in_ch', 'in_chans', 'in_channels', 'img_channel')


def load_restorer(source, device=None, precision='fp32', tile=None, ensemble=False):
    """Load weights and return a function that restores pictures: ``out = load_restorer('memnet_denoise')(img)``.

    Args:
        source (str): Packaged name, path of a ``.pth`` or ``.safetensors`` file with a description, or an address.
        device (str | torch.device | None): Where to compute; None takes the GPU where there is one. Default: None.
        precision (str): 'fp32', 'bf16' or 'fp16'. Default: 'fp32'.
        tile (int | None): Side of the tiles for pictures too large for the memory, in pixels. Default: None.
        ensemble (bool): Average over the eight flips and rotations: eight times the time. Default: False.

    Returns:
        Restorer: Maps pictures to restored pictures.

    Raises:
        UsageError: If the weights cannot be had, or an argument is out of its range.
    """
    net, description = load_network(source)
    inference = Inference(
        tile=tile,
        tile_overlap=32 if tile is None else min(32, tile // 2),
        self_ensemble=ensemble,
        precision=precision,
        local_statistics=description.get('local_statistics'))
    return Restorer(net, description, inference, device)


class Restorer:
    """Maps pictures to restored pictures of the same kind, type and layout.

    Networks of one channel restore colour pictures as the description's ``color`` says: channel by channel, or their
    luminance without or with the chroma. Networks of three channels see a gray picture three times and their outputs
    are averaged.

    Args:
        net (nn.Module): Network; its form for inference is used, see :mod:`memnet_basicsr.fast`.
        description (dict): What the network is for, see :func:`describe`.
        inference (Inference | None): Tiles, precision, ...; None for the defaults. Default: None.
        device (str | torch.device | None): Where to compute; None takes the GPU where there is one. Default: None.

    Raises:
        UsageError: If there is no such device.
    """

    def __init__(self, net, description, inference=None, device=None):
        self.description = description
        self.inference = inference or Inference()
        self.in_channels = input_channels(net, description['network_g'])
        self.device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        net = self.inference.prepare(net.eval())
        try:
            self.net = net.to(self.device).requires_grad_(False)
        except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
            raise UsageError(f'device {device}: cannot be used here: {str(error).splitlines()[0]}') from None

    def __call__(self, img, scale=None):
        """Restore one picture, a batch or a list.

        Args:
            img (ndarray | Tensor | list): Gray or RGB (not BGR). Arrays (h, w), (h, w, c) or (n, h, w, c), tensors
                (h, w), (c, h, w) or (n, c, h, w), c = 1 or 3. uint8 in 0..255, uint16 in 0..65535, or float in [0, 1].
            scale (float | None): Factor of super-resolution; needed where the network knows several. Default: None.

        Returns:
            ndarray | Tensor | list: As ``img``; for super-resolution ``scale`` times as large. Whole numbers are
                rounded and clipped, floats neither.

        Raises:
            UsageError: If ``img`` is not such a picture, or ``scale`` does not suit the network.
        """
        if isinstance(img, (list, tuple)):
            return [self(v, scale) for v in img]
        batch, back = to_batch(img)
        return back(self.restore(batch, self.check_scale(scale)))

    def restore(self, lq, scale=1):
        """Restore a batch.

        Args:
            lq (Tensor): Gray or RGB pictures, shape (n, c, h, w), c = 1 or 3, range [0, 1].
            scale (float): Factor of super-resolution. Default: 1.

        Returns:
            Tensor: Restored pictures, not clipped, shape (n, c, h * scale, w * scale), on the device of ``lq``.
        """
        if self.description.get('upscaled_by') == 'bicubic':
            lq = upscale(lq, scale)
        channels = lq.size(1)
        if channels == self.in_channels:
            return self._apply(lq)
        if channels == 1:
            return self._apply(lq.repeat(1, self.in_channels, 1, 1)).mean(1, keepdim=True)
        if self.description['color'] == 'each':
            return torch.cat([self._apply(v) for v in lq.split(1, dim=1)], dim=1)
        return self._restore_luminance(lq)

    def check_scale(self, scale):
        """Factor of super-resolution to use.

        Args:
            scale (float | None): Factor asked for.

        Returns:
            float: Factor; 1 for other tasks.

        Raises:
            UsageError: If a factor is missing, not possible, or makes no sense for the task.
        """
        if self.description['task'] != 'sr':
            if scale not in (None, 1):
                raise UsageError(f'scale: {scale} is for super-resolution; these weights are for '
                                 f"{self.description['task']}")
            return 1
        known = self.description['scale']
        if scale is None and len(known) == 1:
            return known[0]
        fixed = self.description['upscaled_by'] == 'network'
        if scale is None or not 1 <= scale <= 8 or (fixed and scale not in known):
            raise UsageError(
                f'scale: {scale}; give the factor of super-resolution, one of {", ".join(map(str, known))}')
        return scale

    def forwards(self, height, width, channels, scale=1):
        """How often the network is called for one picture; for progress bars.

        Args:
            height (int): Height of the picture in pixels.
            width (int): Width of the picture in pixels.
            channels (int): Its channels, 1 or 3.
            scale (float): Factor of super-resolution. Default: 1.

        Returns:
            int: Number of calls.
        """
        if self.description.get('upscaled_by') == 'bicubic':
            height, width = round(height * scale), round(width * scale)
        forwards = self.inference.forwards(self.net, height, width)
        if channels != 3 or self.in_channels != 1 or self.description['color'] == 'y':
            return forwards
        if self.description['color'] == 'each':
            return 3 * forwards
        return forwards + 2 * self.inference.forwards(self.net, (height + 1) // 2, (width + 1) // 2)

    def _apply(self, lq):
        return self.inference(self.net, lq)

    def _restore_luminance(self, lq):
        y, chroma = rgb_to_ycbcr(lq)
        if self.description['task'] == 'sr':
            # super-resolution is trained on MATLAB's luminance, which lies in 16..235
            y = (self._apply((16 + 219 * y) / 255) * 255 - 16) / 219
        else:
            y = self._apply(y)
        if self.description['color'] == 'half':
            chroma = self._restore_chroma(chroma)
        if y.shape[2:] != chroma.shape[2:]:
            chroma = upscale(chroma, y.size(2) / chroma.size(2))
        return ycbcr_to_rgb(y, chroma)

    def _restore_chroma(self, chroma):
        """What the network changes in each at half the size, where JPEG has left its blocks, is added enlarged."""
        height, width = chroma.shape[2:]
        half = F.avg_pool2d(F.pad(chroma, (0, width % 2, 0, height % 2), mode='replicate'), 2)
        change = torch.cat([self._apply(v + 0.5) - 0.5 - v for v in half.split(1, dim=1)], dim=1)
        return chroma + F.interpolate(change, scale_factor=2, mode='bilinear')[:, :, :height, :width]


def upscale(img, scale):
    """Enlarge bicubically, as MATLAB's ``imresize`` does.

    Args:
        img (Tensor): Pictures, shape (n, c, h, w).
        scale (float): Factor.

    Returns:
        Tensor: Pictures, shape (n, c, round(h * scale), round(w * scale)), neither clipped nor rounded.
    """
    if scale == 1:
        return img
    size = round(img.size(2) * scale), round(img.size(3) * scale)
    resized = [torch.from_numpy(resize_bicubic(v.permute(1, 2, 0).cpu().numpy(), *size)) for v in img]
    return torch.stack(resized).permute(0, 3, 1, 2).contiguous().to(img.device)


def input_channels(net, network_opt):
    """Channels of a network's input.

    Args:
        net (nn.Module): Network.
        network_opt (dict): Its ``network_g``.

    Returns:
        int: The argument that says so, given or by default; 3 where none does.
    """
    defaults = {k: v.default for k, v in inspect.signature(type(net)).parameters.items()}
    for name in CHANNEL_ARGUMENTS:
        value = network_opt.get(name, defaults.get(name))
        if isinstance(value, int):
            return value
    return 3
