"""First-layer features of networks side by side, drawn by mmengine; the paper's figure of what memory changes."""
import numpy as np
import torch

from ...archs.memorynet_arch import MemoryNet
from ...archs.mprnet_util import merge_columns, merge_rows
from ...errors import UsageError, near
from ..drawing import new_figure, set_title
from ..networks import inference_of
from .drawing import as_image


def layer_features(net, image, layer=None):
    """Output of a submodule while the network restores an image.

    Args:
        net (nn.Module): Network.
        image (Tensor): (c, H, W), [0, 1].
        layer (str | None): Name in ``named_modules``; a leading ``backbone.`` may be left out. Default: None, the first
            submodule that outputs more channels than the image has.

    Returns:
        tuple: Name of the layer, and its features (C, h, w). The halves and quarters that MemoryNet processes
            separately are merged. If a layer runs several times, the first run is returned.

    Raises:
        UsageError: If there is no such layer, or its output is not a feature map.
    """
    names = {name: module for name, module in net.named_modules() if name}
    if layer is not None and layer not in names:
        if f'backbone.{layer}' not in names:
            raise UsageError(f'layer {layer}: {type(net).__name__} has no submodule of that name{near(layer, names)}')
        layer = f'backbone.{layer}'
    found = []

    def note(name):

        def hook(module, args, output):
            is_map = isinstance(output, torch.Tensor) and output.dim() == 4
            if not found and (name == layer or (layer is None and is_map and output.shape[1] > len(image))):
                found.append((name, output))

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in names.items()]
    try:
        inference_of(net)(net, image[None].to(next(net.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    name, feature = found[0] if found else (layer, None)
    if not isinstance(feature, torch.Tensor) or feature.dim() != 4:
        raise UsageError(f'layer {name}: is not called or does not output a feature map (N, C, H, W); use another one')
    if isinstance(net, MemoryNet) and len(feature) == 4:
        feature = merge_columns(feature)
    if isinstance(net, MemoryNet) and len(feature) == 2:
        feature = merge_rows(feature)
    return name, feature[0].float().cpu()


def gradients(feature):
    """Mean absolute difference of neighboring positions over the standard deviation of the channel.

    Args:
        feature (Tensor): (C, h, w), both sides at least 2.

    Returns:
        float: Mean over the channels that are not constant; near 0 for smooth features, 2 / sqrt(pi) = 1.13 for white
            noise.
    """
    differences = feature.diff(dim=1).abs().mean((1, 2)) + feature.diff(dim=2).abs().mean((1, 2))
    deviation = feature.flatten(1).std(1)
    varying = deviation > 1e-8
    return float((differences[varying] / 2 / deviation[varying]).mean()) if varying.any() else 0.


def magnitude(feature):
    """Absolute values, clipped to the 98th percentile of each channel, because padded borders can be outliers.

    Args:
        feature (Tensor): (C, h, w).

    Returns:
        Tensor: (C, h, w).
    """
    feature = feature.abs()
    return feature.minimum(torch.from_numpy(np.percentile(feature.numpy(), 98, axis=(1, 2), keepdims=True)).float())


def draw_first_layers(image, networks, title, count=12):
    """Draw the features of networks: the mean magnitude over the image, and the strongest channels.

    Args:
        image (Tensor): (c, H, W), [0, 1].
        networks (list[tuple]): For each network: name, name of the layer, and features (C, h, w).
        title (str): Name of the image.
        count (int): Channels to draw for each network. Default: 12.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    from mmengine.visualization import Visualizer
    image = np.ascontiguousarray((as_image(image) * 255).round().astype(np.uint8))
    columns = -(-min(count, max(len(v[2]) for v in networks)) // 2)
    ratio = image.shape[0] / image.shape[1]
    width = 16 / (2.4 + columns)
    figure = new_figure(16, len(networks) * (2 * width * ratio + .5) + .7)
    axes = figure.subplots(len(networks), 3, squeeze=False, width_ratios=(1.2, 1.2, columns))
    for row, (name, layer, feature) in zip(axes, networks):
        heat = magnitude(feature).mean(0, keepdim=True)
        heat = torch.nn.functional.interpolate(heat[None], image.shape[:2], mode='bilinear', align_corners=False)[0]
        mosaic = Visualizer.draw_featmap(
            magnitude(feature),
            channel_reduction=None,
            topk=min(count, len(feature)),
            arrangement=(2, columns),
            resize_shape=(max(1, round(240 * ratio)), 240))
        shown = ((image, 'image'), (Visualizer.draw_featmap(heat, image, alpha=.4), 'mean |feature| over the image'),
                 (mosaic, f'{name}: layer {layer}, |feature| of the strongest of {len(feature)} channels'))
        for axis, (pixels, text) in zip(row, shown):
            axis.imshow(pixels)
            axis.axis('off')
            axis.set_title(text, fontsize=9)
    set_title(figure, title)
    return figure
