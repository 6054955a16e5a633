"""Validation of a model on one dataset: inference, metrics on float or uint8 images, saved images, log.

Replaces BasicSR's validation loop, which has no hooks for float metrics, masks and sharding.
"""
import csv
import io
import math
import os
import torch
from os import path as osp
from tqdm import tqdm

from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, imwrite
from ..atomic_file import replacing
from ..data.sampling import SeededDataset
from ..errors import UsageError, first_line
from .checkpoint import few
from .distributed import gather, share_buffers
from .images import color_image, error_image, panel, to_image
from .json_lines import append_line
from .options import PerSetOptions
from .stop import StopAsked


def check_crop_border(metrics, size, image):
    """Check that metrics do not crop all of an image.

    Args:
        metrics (dict[str, dict]): Name of a metric -> its arguments.
        size (tuple[int]): Height and width of the image.
        image (str): Its name, for the message.

    Raises:
        UsageError: Nothing is left of the image.
    """
    for name, arguments in metrics.items():
        border = arguments.get('crop_border', 0)
        if 2 * border >= min(size):
            raise UsageError(f'metrics: {name}: crop_border: {border} leaves nothing of image {image}, {size[0]} x '
                             f'{size[1]} pixels; lower it')  # yapf: disable


def image_name(path, opt):
    """Name under which the results of an image are kept; equal names in two folders do not collide.

    Args:
        path (str): Path of the image, or its key in an LMDB.
        opt (dict): Options of its dataset.

    Returns:
        str: Path below the data root, or key, with ``_`` between folders and without extension.
    """
    roots = [osp.abspath(opt.get(f'dataroot_{kind}') or osp.dirname(path)) for kind in ('lq', 'gt')]
    root = next((v for v in roots if osp.abspath(path).startswith(osp.join(v, ''))), None)
    is_key = (opt.get('io_backend') or {}).get('type') == 'lmdb'
    below = path if is_key else osp.relpath(path, root) if root else osp.basename(path)
    return osp.splitext(below)[0].replace(os.sep, '_')


def _mean(values):
    """Mean over images; those without a pixel of the region (NaN) do not count."""
    values = [v for v in values if not math.isnan(v)]
    return float(sum(values) / len(values)) if values else math.nan


class Validation:
    """Validates a RestorationModel on one dataset, sharded over all ranks.

    Rank r of n takes the images r, r + n, ...; results are gathered in dataset order, so they do not depend on n. The
    global random generators are not used.

    Options (:class:`ValidationOptions`) are read from ``val:``; the dataset's block can override those of
    :class:`PerSetOptions`. An item's ``mask``, (1, H, W) in [0, 1], is passed to metrics as (H, W) in [0, 255]. Items
    with ``chroma`` have their luminance images saved in color.

    Args:
        model (RestorationModel): The model; ``feed_data``, ``test`` and ``get_current_visuals`` are called.
        loader (DataLoader): Validation loader of the dataset.
    """

    def __init__(self, model, loader):
        self.model, self.dataset = model, loader.dataset
        self.opt = model.opt
        self.name = self.dataset.opt['name']
        per_set = {k: v for k, v in self.dataset.opt.items() if v is not None}
        own = PerSetOptions.read(per_set, f'dataset {self.name}').given()
        self.options = model.val_options.model_copy(update=own)
        self.metrics = self.options.metrics or {}

    def run(self, current_iter, tb_logger, save_img):
        """Validate, log, and update the best records.

        Args:
            current_iter (int | str): Iteration (training) or name of the run (testing).
            tb_logger (SummaryWriter | None): TensorBoard.
            save_img (bool): Whether to write the restored images.

        Returns:
            dict[str, float]: Figure of every metric over the dataset.

        Raises:
            StopAsked: The run was asked to stop meanwhile; nothing is recorded.
            UsageError: Input or ground truth is not finite, or in a test the output of the network.
        """
        share_buffers(self.model.net_to_validate(), self.opt)
        with self.model.prepared():
            share = self._validate_share(current_iter, tb_logger, save_img)
        rows = self._gather(share)
        broken = [image for image, figures in rows if figures is None]
        if broken:
            self._report_broken(broken)
            rows = [(image, dict.fromkeys(self.metrics, math.nan) if v is None else v) for image, v in rows]
        means = {name: math.nan if broken else _mean([v[name] for _, v in rows]) for name in self.metrics}
        if self.metrics:
            self._record(means, current_iter)
            if self.opt['rank'] == 0:
                self._log(means, current_iter, tb_logger)
                if self.options.per_image_csv:
                    self._write_csv(rows, current_iter)
        return means

    def _report_broken(self, images):
        """Training continues with NaN metrics; a test stops."""
        text = f'Validation {self.name}: the output of {few(images)} holds NaN or infinite values'
        if not self.opt['is_train']:
            raise UsageError(f'{text}; use val: precision: fp32, or other weights')
        if self.opt['rank'] == 0:
            get_root_logger().warning(text)

    def _validate_share(self, current_iter, tb_logger, save_img):
        """Metrics of every n-th image: position in the dataset -> (name of the image, metrics)."""
        rank, world_size = self.opt['rank'], self.opt['world_size']
        count = min(len(self.dataset), self.options.max_images or len(self.dataset))
        positions = range(rank, count, world_size)
        loader = torch.utils.data.DataLoader(
            torch.utils.data.Subset(SeededDataset(self.dataset), positions), batch_size=1, generator=torch.Generator())
        bar = tqdm(total=count, unit='image', desc=self.name, leave=False, disable=rank != 0 or not self.options.pbar)
        rows = {}
        with bar:
            for position, data in zip(positions, loader):
                if self.model.stop_signal():
                    break
                rows[position] = self._validate_image(data, current_iter, save_img, tb_logger if not position else None)
                bar.update(min(world_size, count - bar.n))
        return rows

    def _validate_image(self, data, current_iter, save_img, tb_logger):
        """Figures of one image, computed where it was restored; None if the output is not finite."""
        model = self.model
        vars(model).pop('gt', None)  # of another image, where this set has none
        image = image_name(data['lq_path'][0], self.dataset.opt)
        model.feed_data(data)
        model.test()
        visuals = model.get_current_visuals()
        if not torch.isfinite(visuals['result']).all():
            return image, None
        if tb_logger or save_img or self.options.save_panel:
            self._show(image, visuals, data.get('chroma'), current_iter, save_img, tb_logger)
        quantize = self.options.quantize
        images = {'img': to_image(visuals['result'], quantize)}
        if 'gt' in visuals:
            images['img2'] = to_image(visuals['gt'], quantize)
        if 'mask' in data:
            images['mask'] = data['mask'][0, 0].double().numpy() * 255.
        if 'abnormality' in visuals:
            images['abnormality'] = visuals['abnormality'][0, 0].double().numpy()
        arguments = {name: metric.arguments() for name, metric in self.metrics.items()}
        check_crop_border(arguments, images['img'].shape[:2], image)
        try:
            return image, {name: calculate_metric(images, v) for name, v in arguments.items()}
        except (AssertionError, ValueError, RuntimeError) as error:  # images that a metric does not take
            text = first_line(error)
            raise UsageError(f'dataset {self.name}: metrics: image {image}: {text}') from None

    def _show(self, image, visuals, chroma, current_iter, save_img, tb_logger):
        """Write and log images."""
        images = {
            key: to_image(visuals[key]) if chroma is None else color_image(visuals[key], chroma[0])
            for key in ('lq', 'result', 'gt') if key in visuals
        }
        path = self._image_path(image, current_iter)
        if save_img:
            imwrite(images['result'], path)
        if tb_logger:
            rgb = panel(list(images.values()))[..., ::-1]
            tb_logger.add_image(f'{self.name}/{image}', rgb.copy(), current_iter, dataformats='HWC')
        if self.options.save_panel:
            shown = list(images.values())
            if 'gt' in images:
                shown.append(error_image(images['result'], images['gt']))
            if 'abnormality' in visuals:
                shown.append(to_image(visuals['abnormality']))
            imwrite(panel(shown), f'{osp.splitext(path)[0]}_panel.png')

    def _image_path(self, image, current_iter):
        folder = self.opt['path']['visualization']
        if self.opt['is_train']:  # several sets may hold the same images
            return osp.join(folder, self.name, image, f'{image}_{current_iter}.png')
        return osp.join(folder, self.name, f'{image}_{self.options.suffix or self.opt["name"]}.png')

    def _gather(self, rows):
        """Rows of all processes in the order of the dataset."""
        shares, signals = zip(*gather((rows, self.model.stop_signal()), self.opt))
        if max(signals):
            raise StopAsked(max(signals))
        return [row for _, row in sorted((item for share in shares for item in share.items()), key=lambda v: v[0])]

    def _record(self, means, current_iter):
        records = self.model.best_metric_results.setdefault(self.name, {})
        for name, value in means.items():
            better = self.metrics[name].better
            best = records.get(name)
            if math.isnan(value):
                continue
            if best is None or (value >= best['val'] if better == 'higher' else value <= best['val']):
                records[name] = dict(better=better, val=value, iter=current_iter)

    def _log(self, means, current_iter, tb_logger):
        best = self.model.best_metric_results[self.name]
        lines = [f'Validation {self.name}']
        for name, value in means.items():
            line = f'\t # {name}: {value:.4f}'
            if self.opt['is_train'] and name in best:
                line += f'\tBest: {best[name]["val"]:.4f} @ {best[name]["iter"]} iter'
            lines.append(line)
            if tb_logger:
                tb_logger.add_scalar(f'metrics/{self.name}/{name}', value, current_iter)
        get_root_logger().info('\n'.join(lines) + '\n')
        append_line(
            osp.join(self.opt['path']['log'], 'metrics.jsonl'), dict(iter=current_iter, dataset=self.name, **means))

    def _write_csv(self, rows, current_iter):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator='\n')
        writer.writerow(['image', *self.metrics])
        writer.writerows([image, *(float(v[name]) for name in self.metrics)] for image, v in rows)
        with replacing(osp.join(self.opt['path']['log'], f'{self.name}_{current_iter}.csv')) as f:
            f.write(text.getvalue().encode())
