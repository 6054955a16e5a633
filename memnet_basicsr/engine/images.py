"""Images that a validation shows and writes."""
import cv2
import numpy as np

from basicsr.utils import ycbcr2bgr


def to_image(tensor, quantize=True):
    """Convert a network output to an image for metrics and files.

    Args:
        tensor (Tensor): (1, C, H, W) or (C, H, W), RGB or one channel, [0, 1].
        quantize (bool): True: clip and round to uint8. False: float64, neither clipped nor rounded. Default: True.

    Returns:
        ndarray: (H, W, C), BGR, [0, 255].
    """
    image = tensor.detach().reshape(tensor.shape[-3:]).cpu().double().numpy().transpose(1, 2, 0)[..., ::-1] * 255.
    if not quantize:
        return np.ascontiguousarray(image)
    return np.ascontiguousarray(image.clip(0, 255).round().astype(np.uint8))


def color_image(luminance, chroma):
    """Turn a luminance image and the chroma of another into a color image.

    Args:
        luminance (Tensor): (1, 1, H, W) or (1, H, W), MATLAB's Y of YCbCr, [0, 1].
        chroma (Tensor): (2, H, W), Cb and Cr in the same convention, [0, 1].

    Returns:
        ndarray: uint8, (H, W, 3), BGR.
    """
    y = luminance.detach().cpu().float().reshape(1, *luminance.shape[-2:]).clamp(0, 1)
    ycbcr = np.concatenate([y.numpy(), chroma.float().numpy()]).transpose(1, 2, 0)
    return (ycbcr2bgr(ycbcr) * 255.).clip(0, 255).round().astype(np.uint8)


def error_image(restored, clean):
    """Absolute error, mean over the channels, times 4: an error of 64 of 255 or more is white.

    Args:
        restored (ndarray): uint8, (H, W, C).
        clean (ndarray): As ``restored``.

    Returns:
        ndarray: uint8, (H, W, 1).
    """
    error = np.abs(restored.astype(np.float32) - clean.astype(np.float32)).mean(2, keepdims=True)
    return (4 * error).clip(0, 255).round().astype(np.uint8)


def panel(images):
    """Images side by side: gray ones as color, smaller ones (the input of super-resolution) enlarged by repetition.

    Args:
        images (list[ndarray]): uint8, (H, W, 1 or 3), BGR.

    Returns:
        ndarray: uint8, (H, W, 3), BGR.
    """
    height = max(v.shape[0] for v in images)
    width = max(v.shape[1] for v in images)
    images = [v if v.shape[2] == 3 else np.repeat(v, 3, axis=2) for v in images]
    return np.hstack([
        v if v.shape[:2] == (height, width) else cv2.resize(v, (width, height), interpolation=cv2.INTER_NEAREST)
        for v in images
    ])
