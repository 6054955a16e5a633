"""Validation of a model on one data set: inference path, metrics in float or on uint8 images, pictures, log.

The one loop of BasicSR that is replaced: it has no hooks for float metrics, metrics per data set and sharding.
"""
import json
import numpy as np
import os
import torch
from os import path as osp
from tqdm import tqdm

from basicsr.metrics import calculate_metric
from basicsr.utils import get_root_logger, imwrite


def to_image(tensor, quantize=True):
    """Turn a network's output into the image that metrics and files want.

    Args:
        tensor (Tensor): (1, C, H, W) or (C, H, W), RGB or one channel, [0, 1].
        quantize (bool): True: clip and round to uint8. False: float64, neither clipped nor rounded. Default: True.

    Returns:
        ndarray: (H, W, C), BGR, [0, 255].
    """
    image = tensor.detach().squeeze(0).cpu().double().numpy().transpose(1, 2, 0)[..., ::-1] * 255.
    if not quantize:
        return np.ascontiguousarray(image)
    return np.ascontiguousarray(image.clip(0, 255).round().astype(np.uint8))


def shard(loader, rank, world_size):
    """Every world_size-th picture of a validation loader, from the rank-th on.

    Args:
        loader (DataLoader): Validation loader (batch size 1, in order).
        rank (int): Rank of this process.
        world_size (int): Number of processes.

    Returns:
        DataLoader: A loader over this process's share.
    """
    if world_size == 1:
        return loader
    share = torch.utils.data.Subset(loader.dataset, range(rank, len(loader.dataset), world_size))
    return torch.utils.data.DataLoader(share, batch_size=1, shuffle=False, num_workers=0)


class Validation:
    """Validates a model of class RestorationModel on one data set.

    Options are read from the data set's block and else from ``val:``:

    - ``metrics`` (dict): name -> {type, ...}, as in BasicSR; ``crop_border`` and so on may differ between data sets.
    - ``quantize`` (bool): whether metrics see clipped, rounded uint8 images, or float images. Default: True.
    - ``max_images`` (int): validate on the first so many pictures only. Default: all.

    Args:
        model (RestorationModel): The model; ``feed_data``, ``test`` and ``get_current_visuals`` are called.
        loader (DataLoader): Validation loader of the data set.
    """

    def __init__(self, model, loader):
        self.model, self.loader = model, loader
        self.opt = model.opt
        self.set_opt = loader.dataset.opt
        self.name = self.set_opt['name']
        self.metrics = self._option('metrics') or {}

    def _option(self, key, default=None):
        value = self.set_opt.get(key)
        return self.opt['val'].get(key, default) if value is None else value

    def run(self, current_iter, tb_logger, save_img):
        """Validate, log, and update the best records.

        Args:
            current_iter (int | str): Iteration (training) or name of the run (testing).
            tb_logger (SummaryWriter | None): TensorBoard.
            save_img (bool): Whether to write the restored pictures.

        Returns:
            dict[str, float]: Mean of every metric over the data set.
        """
        rows = {}
        rank, world_size = self.opt['rank'], self.opt['world_size']
        count = min(len(self.loader.dataset), self._option('max_images') or len(self.loader.dataset))
        bar = tqdm(
            total=count,
            unit='image',
            desc=self.name,
            leave=False,
            disable=rank != 0 or not self.opt['val'].get('pbar', False))
        for k, data in enumerate(shard(self.loader, rank, world_size)):
            position = rank + k * world_size
            if position >= count:
                break
            rows[position] = self._validate_picture(data, current_iter, save_img)
            bar.update(min(world_size, count - bar.n))
        bar.close()
        rows = self._gather(rows)
        means = {name: float(np.mean([rows[i][name] for i in sorted(rows)])) for name in self.metrics}
        if self.metrics:
            self._record(means, current_iter)
            if rank == 0:
                self._log(means, current_iter, tb_logger)
        return means

    def _validate_picture(self, data, current_iter, save_img):
        """Metrics of one picture, computed where it was restored."""
        model = self.model
        model.feed_data(data)
        model.test()
        visuals = model.get_current_visuals()
        quantize = self._option('quantize', True)
        images = {'img': to_image(visuals['result'], quantize)}
        if 'gt' in visuals:
            images['img2'] = to_image(visuals['gt'], quantize)
        if save_img:
            path = self._picture_path(osp.splitext(osp.basename(data['lq_path'][0]))[0], current_iter)
            imwrite(to_image(visuals['result']), path)
        return {name: float(calculate_metric(images, opt)) for name, opt in self.metrics.items()}

    def _picture_path(self, picture, current_iter):
        folder = self.opt['path']['visualization']
        if self.opt['is_train']:  # several sets may hold the same pictures
            return osp.join(folder, self.name, picture, f'{picture}_{current_iter}.png')
        return osp.join(folder, self.name, f'{picture}_{self.opt["val"].get("suffix") or self.opt["name"]}.png')

    def _gather(self, rows):
        if self.opt['world_size'] == 1:
            return rows
        shares = [None] * self.opt['world_size']
        torch.distributed.all_gather_object(shares, rows)
        return {position: row for share in shares for position, row in share.items()}

    def _record(self, means, current_iter):
        records = self.model.best_metric_results.setdefault(self.name, {})
        for name, value in means.items():
            better = self.metrics[name].get('better', 'higher')
            best = records.get(name)
            if best is None or (value >= best['val'] if better == 'higher' else value <= best['val']):
                records[name] = dict(better=better, val=value, iter=current_iter)

    def _log(self, means, current_iter, tb_logger):
        best = self.model.best_metric_results[self.name]
        lines = [f'Validation {self.name}']
        for name, value in means.items():
            line = f'\t # {name}: {value:.4f}'
            if self.opt['is_train']:
                line += f'\tBest: {best[name]["val"]:.4f} @ {best[name]["iter"]} iter'
            lines.append(line)
            if tb_logger:
                tb_logger.add_scalar(f'metrics/{self.name}/{name}', value, current_iter)
        get_root_logger().info('\n'.join(lines) + '\n')
        append_line(osp.join(self.opt['path']['log'], 'metrics.jsonl'), {
            'iter': current_iter,
            'dataset': self.name,
            **means
        })


def append_line(path, values):
    """Append one JSON line to a file and bring it to the disk.

    Args:
        path (str): The file.
        values (dict): Plain Python values.
    """
    with open(path, 'a', encoding='utf-8') as f:
        f.write(json.dumps(values) + '\n')
        f.flush()
        os.fsync(f.fileno())
