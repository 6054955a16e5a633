import numpy as np
import torch
import warnings
from torch.nn import functional as F

from ..data.bicubic_util import resize_bicubic
from ..errors import UsageError
from .arrays import to_batch
from .backends import select_backend
from .color import rgb_to_ycbcr, ycbcr_to_rgb
from .inference import Inference
from .input_level import check_strength, estimate_sigma, outside_range
from .onnx_graph import read_graph
from .weights import input_channels, load_network


def load_restorer(source, device=None, precision='fp32', tile=None, ensemble=False, strength=1., backend='torch'):
    """Load weights and return a function that restores images: ``out = load_restorer('memnet_denoise')(img)``.

    Args:
        source (str): Bundled name (see :func:`bundled_networks`), path of a ``.pth`` or ``.safetensors`` file with a
            description, URL, ``hub:owner/name`` on the Hugging Face Hub, or ``.onnx`` file from
            scripts/export_onnx.py (any backend except torch).
        device (str | torch.device | None): Device; None selects the GPU if there is one. Default: None.
        precision (str): 'fp32', 'bf16' or 'fp16'. Default: 'fp32'.
        tile (int | None): Side of the tiles in pixels, for images too large for the memory. Default: None.
        ensemble (bool): Average over the eight flips and rotations: eight times the time. Default: False.
        strength (float): Weight of the output when it is blended with the input, in [0, 1]. Default: 1.
        backend (str): What computes the network: 'torch', 'onnxruntime', 'openvino' or 'auto', see
            :func:`select_backend`. Default: 'torch'.

    Returns:
        Restorer: Maps images to restored images.

    Raises:
        UsageError: If the weights cannot be loaded, an argument is out of its range, or the backend is not installed or
            cannot run the network.
    """
    strength = check_strength(strength)
    net, description = read_graph(source) if str(source).endswith('.onnx') else load_network(source)
    inference = Inference(
        tile=tile, self_ensemble=ensemble, precision=precision, local_statistics=description.get('local_statistics'))
    net, choice = select_backend(backend, net, description['network_g'], inference, device)
    return Restorer(net, description, inference, device, strength, choice)


class Restorer:
    """Maps images to restored images of the same kind, dtype and layout.

    One-channel networks restore color images as ``color`` of the description says: channel by channel, or the luminance
    with or without the chroma. Three-channel networks get a gray image in all channels, and their outputs are averaged.

    Args:
        net (nn.Module): Network; its inference form is used if there is one.
        description (dict): Purpose of the network, see :func:`describe`.
        inference (Inference | None): Tiles, precision, ...; None for the defaults. Default: None.
        device (str | torch.device | None): Device; None selects the GPU if there is one. Default: None.
        strength (float): Weight of the output when it is blended with the input (for super-resolution: with the
            bicubic enlargement), in [0, 1]. Default: 1.
        backend (str): What computes the network, as a line for users. Default: 'torch'.

    Attributes:
        valid_range (dict): Inputs that the network was trained for, such as ``{'sigma': [0, 75]}`` (scale 0..255) or
            ``{'quality': [5, 98]}``; empty if the description has no ``range``.

    Raises:
        UsageError: If there is no such device, or ``strength`` is outside [0, 1].
    """

    def __init__(self, net, description, inference=None, device=None, strength=1., backend='torch'):
        self.description, self.backend = description, backend
        self.valid_range = description.get('range') or {}
        self.strength = check_strength(strength)
        self.inference = inference or Inference()
        self.in_channels = input_channels(net, description['network_g'])
        self.device = torch.device(device or ('cuda' if torch.cuda.is_available() else 'cpu'))
        net = self.inference.prepare(net.eval())
        try:
            self.net = net.to(self.device).requires_grad_(False)
        except (RuntimeError, AssertionError) as error:  # AssertionError: torch was built without CUDA
            raise UsageError(f'device {device}: not available: {str(error).splitlines()[0]}') from None

    def __call__(self, img, scale=None):
        """Restore an image, a batch or a list.

        Warns (``UserWarning``) if the estimated noise is outside the valid range of the network.

        Args:
            img (ndarray | Tensor | list): Gray or RGB (not BGR). Arrays (h, w), (h, w, c) or (n, h, w, c), tensors
                (h, w), (c, h, w) or (n, c, h, w), c = 1 or 3. uint8 in 0..255, uint16 in 0..65535, or float in [0, 1].
            scale (float | None): Factor of super-resolution; required if the network has several. Default: None.

        Returns:
            ndarray | Tensor | list: Like ``img``; ``scale`` times as large for super-resolution. Integers are rounded
                and clipped, floats are not.

        Raises:
            UsageError: If ``img`` is not such an image, ``scale`` does not suit the network, or the output is not
                finite.
        """
        if isinstance(img, (list, tuple)):
            return [self(v, scale) for v in img]
        batch, back = to_batch(img)
        if 'sigma' in self.valid_range:
            for sample in batch.cpu().numpy():
                levels = {'sigma': estimate_sigma(np.ascontiguousarray(sample.transpose(1, 2, 0)))}
                for fault in outside_range(levels, self.valid_range):
                    warnings.warn(f'{fault} of the network', stacklevel=2)
        return back(self.restore(batch, self.check_scale(scale)))

    def restore(self, lq, scale=1):
        """Restore a batch, without a check of its noise.

        Args:
            lq (Tensor): Gray or RGB images, shape (n, c, h, w), c = 1 or 3, range [0, 1].
            scale (float): Factor of super-resolution. Default: 1.

        Returns:
            Tensor: Restored images, not clipped, shape (n, c, h * scale, w * scale), on the device of ``lq``.

        Raises:
            UsageError: If the output is not finite.
        """
        enlarged = upscale(lq, scale) if self.strength < 1 or self.description.get('upscaled_by') == 'bicubic' else lq
        if self.strength == 0:
            return enlarged
        out = self._restore_channels(enlarged if self.description.get('upscaled_by') == 'bicubic' else lq)
        if not torch.isfinite(out).all():
            raise UsageError('the output holds NaN or infinite values; use precision fp32, or check the weights')
        return out if self.strength == 1 else enlarged + self.strength * (out - enlarged)

    def _restore_channels(self, lq):
        channels = lq.size(1)
        if channels == self.in_channels:
            return self._apply(lq)
        if channels == 1:
            return self._apply(lq.repeat(1, self.in_channels, 1, 1)).mean(1, keepdim=True)
        if self.description['color'] == 'each':
            return torch.cat([self._apply(v) for v in lq.split(1, dim=1)], dim=1)
        return self._restore_luminance(lq)

    def check_scale(self, scale):
        """Check the factor of super-resolution.

        Args:
            scale (float | None): Requested factor.

        Returns:
            float: Factor; 1 for other tasks.

        Raises:
            UsageError: If a factor is missing, not supported, or the task has none.
        """
        if self.description['task'] != 'sr':
            if scale not in (None, 1):
                raise UsageError(f'scale: {scale} is for super-resolution, but these weights are for '
                                 f"{self.description['task']}; leave it out")
            return 1
        known = self.description['scale']
        if scale is None and len(known) == 1:
            return known[0]
        fixed = self.description['upscaled_by'] == 'network'
        if scale is None or not 1 <= scale <= 8 or (fixed and scale not in known):
            fault = 'is missing' if scale is None else f'{scale} is not supported'
            raise UsageError(f'scale: {fault}; use one of {", ".join(map(str, known))}')
        return scale

    def forwards(self, height, width, channels, scale=1):
        """Number of calls of the network for one image, for progress bars.

        Args:
            height (int): Height of the image in pixels.
            width (int): Width of the image in pixels.
            channels (int): Its channels, 1 or 3.
            scale (float): Factor of super-resolution. Default: 1.

        Returns:
            int: Number of calls.
        """
        if self.strength == 0:
            return 0
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
            # super-resolution is trained on MATLAB's luminance, in 16..235
            y = (self._apply((16 + 219 * y) / 255) * 255 - 16) / 219
        else:
            y = self._apply(y)
        if self.description['color'] == 'half':
            chroma = self._restore_chroma(chroma)
        if y.shape[2:] != chroma.shape[2:]:
            chroma = upscale(chroma, y.size(2) / chroma.size(2))
        return ycbcr_to_rgb(y, chroma)

    def _restore_chroma(self, chroma):
        """Restore Cb and Cr at half resolution, as JPEG stores them, and add the upsampled residual."""
        height, width = chroma.shape[2:]
        half = F.avg_pool2d(F.pad(chroma, (0, width % 2, 0, height % 2), mode='replicate'), 2)
        change = torch.cat([self._apply(v + 0.5) - 0.5 - v for v in half.split(1, dim=1)], dim=1)
        return chroma + F.interpolate(change, scale_factor=2, mode='bilinear')[:, :, :height, :width]


def upscale(img, scale):
    """Enlarge bicubically, like MATLAB's ``imresize``.

    Args:
        img (Tensor): Images, shape (n, c, h, w).
        scale (float): Factor.

    Returns:
        Tensor: Images, shape (n, c, round(h * scale), round(w * scale)), neither clipped nor rounded.
    """
    if scale == 1:
        return img
    size = round(img.size(2) * scale), round(img.size(3) * scale)
    resized = [torch.from_numpy(resize_bicubic(v.permute(1, 2, 0).cpu().numpy(), *size)) for v in img]
    return torch.stack(resized).permute(0, 3, 1, 2).contiguous().to(img.device)
