"""First-layer features of networks side by side, drawn by mmengine; the paper's figure of what memory changes."""
import difflib
import numpy as np
import torch

from ...archs.memorynet_arch import MemoryNet
from ...archs.mprnet_util import merge_columns, merge_rows
from ...errors import UsageError
from ..drawing import new_figure, set_title
from ..networks import inference_of
from .drawing import as_image


def layer_features(net, picture, layer=None):
    """What a submodule of a network gives while the network restores a picture.

    Args:
        net (nn.Module): Network.
        picture (Tensor): (c, H, W), [0, 1].
        layer (str | None): Name as ``named_modules`` gives it, without a leading ``backbone.`` too. None takes the
            first submodule that turns the picture into more channels. Default: None.

    Returns:
        tuple: Name of the layer, and its features (C, h, w). Halves and quarters that MemoryNet treats apart are put
        together; of a layer that runs several times, the first run counts.

    Raises:
        UsageError: If there is no such layer (near names are listed), or it gives no feature map.
    """
    names = {name: module for name, module in net.named_modules() if name}
    if layer is not None and layer not in names:
        near = difflib.get_close_matches(layer, names, n=5, cutoff=.3)
        if f'backbone.{layer}' not in names:
            raise UsageError(f"layer {layer}: {type(net).__name__} has no submodule of that name; near: "
                             f"{', '.join(near) or ', '.join(list(names)[:5])}")
        layer = f'backbone.{layer}'
    found = []

    def note(name):

        def hook(module, args, output):
            is_map = isinstance(output, torch.Tensor) and output.dim() == 4
            if not found and (name == layer or (layer is None and is_map and output.shape[1] > len(picture))):
                found.append((name, output))

        return hook

    handles = [module.register_forward_hook(note(name)) for name, module in names.items()]
    try:
        inference_of(net)(net, picture[None].to(next(net.parameters()).device))
    finally:
        for handle in handles:
            handle.remove()
    name, feature = found[0] if found else (layer, None)
    if not isinstance(feature, torch.Tensor) or feature.dim() != 4:
        raise UsageError(f'layer {name}: is not called or gives no feature map (N, C, H, W); name another one')
    if isinstance(net, MemoryNet) and len(feature) == 4:
        feature = merge_columns(feature)
    if isinstance(net, MemoryNet) and len(feature) == 2:
        feature = merge_rows(feature)
    return name, feature[0].float().cpu()


def gradients(feature):
    """Mean |difference| of neighbouring positions over the standard deviation of the channel.

    Args:
        feature (Tensor): (C, h, w), both sides at least 2.

    Returns:
        float: Mean over the channels that are not constant: near 0 for smooth ones, 2 / sqrt(pi) = 1.13 for white
        noise.
    """
    differences = feature.diff(dim=1).abs().mean((1, 2)) + feature.diff(dim=2).abs().mean((1, 2))
    deviation = feature.flatten(1).std(1)
    alive = deviation > 1e-8
    return float((differences[alive] / 2 / deviation[alive]).mean()) if alive.any() else 0.


def without_outliers(feature):
    """Feature (1, h, w) clipped to 98 % of its values: borders, where zeros were padded, would take up all colours."""
    low, high = np.percentile(feature.numpy(), (1, 99))
    return feature.clamp(float(low), float(high))


def feature_mosaic(feature, count, columns, side=160):
    """Channels of a feature as colour maps, by mmengine; those of the largest variation over the picture first.

    mmengine picks channels by their sum, which for features around 0 means little; so the choice is made here. Each map
    has the range of its own channel.

    Args:
        feature (Tensor): (C, h, w).
        count (int): So many channels.
        columns (int): Maps in a row.
        side (int): Width of a map in pixels. Default: 160.

    Returns:
        tuple: uint8 ndarray of ``columns`` maps in a row, RGB, and the channels shown (list[int]).
    """
    from mmengine.visualization import Visualizer
    chosen = feature.flatten(1).std(1).argsort(descending=True, stable=True)[:count].tolist()
    height = max(1, round(side * feature.shape[1] / feature.shape[2]))
    maps = [Visualizer.draw_featmap(without_outliers(feature[j:j + 1]), resize_shape=(height, side)) for j in chosen]
    maps = [np.pad(v, ((2, 2), (2, 2), (0, 0)), constant_values=255) for v in maps]
    maps += [np.full_like(maps[0], 255)] * (-len(maps) % columns)
    rows = [np.hstack(maps[k:k + columns]) for k in range(0, len(maps), columns)]
    return np.vstack(rows), chosen


def draw_first_layers(picture, networks, title, count=12):
    """Features of networks side by side: a mean map over the picture, and the channels that vary most.

    Args:
        picture (Tensor): (c, H, W), [0, 1].
        networks (list[tuple]): Of each its name, the name of its layer, and its features (C, h, w).
        title (str): What the picture is.
        count (int): Channels shown of each. Default: 12.

    Returns:
        matplotlib.figure.Figure: The figure.
    """
    from mmengine.visualization import Visualizer
    image = np.ascontiguousarray((as_image(picture) * 255).round().astype(np.uint8))
    columns = -(-min(count, max(len(v[2]) for v in networks)) // 2)
    ratio = picture.shape[1] / picture.shape[2]
    width = 16 / (2.4 + columns)
    figure = new_figure(16, len(networks) * (2 * width * ratio + .5) + .7)
    axes = figure.subplots(len(networks), 3, squeeze=False, width_ratios=(1.2, 1.2, columns))
    for row, (name, layer, feature) in zip(axes, networks):
        heat = without_outliers(feature.abs().mean(0, keepdim=True))
        heat = torch.nn.functional.interpolate(heat[None], image.shape[:2], mode='bilinear', align_corners=False)[0]
        mosaic, channels = feature_mosaic(feature, count, columns)
        shown = ((image, 'picture'), (Visualizer.draw_featmap(heat, image, alpha=.4), 'mean |feature| over it'),
                 (mosaic, f'{name}: layer {layer}, channels {", ".join(map(str, channels))} of {len(feature)}'))
        for axis, (pixels, text) in zip(row, shown):
            axis.imshow(pixels)
            axis.axis('off')
            axis.set_title(text, fontsize=9)
    set_title(figure, title)
    return figure
