import sys
import torch
from collections import OrderedDict
from contextlib import contextmanager
from os import path as osp
from torch import nn as nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from basicsr.data import build_dataloader, build_dataset
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from .. import fast
from ..engine import checkpoint
from ..engine.distributed import gather
from ..engine.json_lines import count_lines, keep_lines
from ..engine.mixup import MixUp
from ..engine.network_figures import network_figures
from ..engine.optim import build_optimizer, build_scheduler, parameter_groups, resume
from ..engine.options import PathOptions, RunOptions, TrainOptions, ValidationOptions
from ..engine.random_state import get_random_state, set_random_state
from ..engine.speed import SpeedMeter, peak_memory
from ..engine.step import TrainStep
from ..engine.stop import StopAsked, StopRequest
from ..engine.validation import Validation
from ..errors import UsageError
from ..fast.heap_util import keep_freed_memory
from ..inference import Inference
from ..inference.options import InferenceOptions


@MODEL_REGISTRY.register()
class RestorationModel(SRModel):
    """BasicSR's SRModel with restoration features, for any registered network.

    - Steps (:class:`TrainStep`): mixed precision, gradient accumulation, clipping, skipping of non-finite gradients.
    - Checkpoints (:mod:`memnet_basicsr.engine.checkpoint`): written atomically; resuming is exact.
    - Validation (:class:`Validation`): float metrics, metrics per dataset, sharded, through :class:`Inference`.

    With SRModel's options only, it trains like SRModel. A subclass adds options in its attributes ``TrainOptions``,
    ``ValOptions`` and ``PathOptions``, and lists the networks that it builds in ``networks_read``
    (:class:`memnet_basicsr.option_block.Block` has an example). The options that were read are ``train_options`` (in
    training), ``val_options`` and ``path_options``.

    Args:
        opt (dict): Options of the run, as BasicSR parses them. See :class:`TrainOptions`, :class:`ValOptions`,
            :class:`PathOptions`; ``docs/options.md`` lists all of them.
    """
    TrainOptions, PathOptions = TrainOptions, PathOptions
    networks_read = ('network_g', )

    class ValOptions(ValidationOptions, InferenceOptions):
        """``val:``"""

    def __init__(self, opt):
        self.best_metric_results = {}
        self.validated = {}  # dataset -> iteration of its last validation
        self.pending = None  # (epoch, iteration) of a checkpoint that waits for its validations
        self.due = []  # datasets whose validation was interrupted when the resumed state was saved
        self.stop = None
        self.net_prepared = None  # form for inference, during a validation
        # BasicSR's transformers declare the multiple that they need in the option file alone
        multiple = opt['network_g'].get('window_size')
        self.train_options = self.TrainOptions.read(opt['train'], 'train') if opt['is_train'] else None
        self.path_options = self.PathOptions.read(opt['path'], 'path')
        self.val_options = self.ValOptions.read({'pad_multiple': multiple, **(opt.get('val') or {})}, 'val')
        self.inference = Inference.from_options(self.val_options)
        super().__init__(opt)

    # ---- training -------------------------------------------------------------------------------------------------

    def init_training_settings(self):
        super().init_training_settings()
        if self.device.type == 'cpu':
            keep_freed_memory()
        self.step = TrainStep(self.train_options, self.optimizer_g, self.device)
        self.stop = StopRequest()
        self.speed = SpeedMeter()
        self.mixup = MixUp(self.train_options)

    def model_to_device(self, net):
        options = self.train_options
        if options:
            net = fast.training(net, recompute=options.recompute)
        if options and options.channels_last:
            net = net.to(memory_format=torch.channels_last)
        if options and options.sync_batchnorm and self.opt['dist']:
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
        if options and options.compile:
            net.compile(**({'backend': options.compile} if isinstance(options.compile, str) else {}))
        return super().model_to_device(net)

    def setup_optimizers(self):
        self.optimizer_g = self._optimizer(self.net_g, 'optim_g')
        self.optimizers.append(self.optimizer_g)

    def _optimizer(self, net, key):
        options = getattr(self.train_options, key)
        try:
            groups = parameter_groups(self.get_bare_model(net), options.bias_lr_mult, options.lr, options.lr_mult)
            return build_optimizer(options.type, groups, options.lr, **options.arguments())
        except UsageError as error:
            raise UsageError(f'train: {key}: {error}') from None

    def setup_schedulers(self):
        options = self.train_options.scheduler
        self.schedulers += [build_scheduler(options.type, v, **options.arguments()) for v in self.optimizers]

    def update_learning_rate(self, current_iter, warmup_iter=-1):
        """Exit if a stop was requested; otherwise finish an interrupted validation."""
        done = current_iter - 1
        signal = self.stop.agreed(self.device, self.opt['dist'])
        if signal:
            self._leave(done, signal)
        if self.due:
            self._validate_due(done)
        super().update_learning_rate(current_iter, warmup_iter)

    def feed_data(self, data):
        if self.is_train:
            self.speed.data_came()
        super().feed_data(data)

    def compute_losses(self, lq, gt):
        """Losses of one part of a batch; subclasses add theirs.

        Args:
            lq (Tensor): Degraded patches, (n, c, h, w), [0, 1].
            gt (Tensor): Clean patches, (n, c, h * s, w * s), [0, 1].

        Returns:
            OrderedDict: Name -> scalar loss; the sum is minimised.
        """
        with self.step.autocast():
            self.output = self.net_g(lq)
        if self.step.dtype is not None:
            self.output = [v.float() for v in self.output] if isinstance(self.output, list) else self.output.float()
        losses = OrderedDict()
        if self.cri_pix:
            terms = getattr(self.cri_pix, 'terms', None)  # each part of a loss of several parts is logged
            try:
                parts = terms(self.output, gt) if terms else {'pix': self.cri_pix(self.output, gt)}
            except ValueError as error:
                raise UsageError(f'train: pixel_opt: {error}') from None
            if len(parts) == 1:
                parts = {'pix': next(iter(parts.values()))}
            losses.update((f'l_{name}', v) for name, v in parts.items())
        if self.cri_perceptual:
            final = self.output[0] if isinstance(self.output, list) else self.output
            percep, style = self.cri_perceptual(final, gt)
            losses.update((name, v) for name, v in (('l_percep', percep), ('l_style', style)) if v is not None)
        return losses

    def optimize_parameters(self, current_iter):
        if self.train_options.fix_norm_iter and current_iter >= self.train_options.fix_norm_iter:
            for module in self.net_g.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        self.lq, self.gt = self.mixup(self.lq, self.gt)
        losses, done = self.step(self.net_g, (self.lq, self.gt), self.compute_losses, current_iter)
        self.log_dict = self.reduce_loss_dict(losses)
        if done and self.ema_decay > 0:
            self.model_ema(decay=self._ema_decay_at(current_iter))
        self.speed.step_done(len(self.lq) * self.opt['world_size'])

    def _ema_decay_at(self, current_iter):
        if not self.train_options.ema_warmup:
            return self.ema_decay
        return min(self.ema_decay, (1 + current_iter) / (10 + current_iter))

    @torch.no_grad()
    def model_ema(self, decay=0.999):
        """Average the parameters and the floating-point buffers; copy the other buffers (counters)."""
        own, averaged = self.get_bare_model(self.net_g), self.net_g_ema
        pairs = [*zip(averaged.parameters(), own.parameters()), *zip(averaged.buffers(), own.buffers())]
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        if floats:
            get_ema_multi_avg_fn(decay)(*map(list, zip(*floats)), None)
        for ours, theirs in pairs:
            if not ours.is_floating_point():
                ours.copy_(theirs)

    def get_current_log(self):
        """Losses and gradient norm of the last step, speed and data wait since the last call, and peak memory."""
        log = OrderedDict(self.log_dict, grad_norm=float(self.step.grad_norm), **self.speed.read())
        log['mem_gb'] = peak_memory(self.device) / 2**30
        if self.step.skipped:
            log['skipped'] = self.step.skipped
        return log

    # ---- validation -----------------------------------------------------------------------------------------------

    def net_to_validate(self):
        """The averaged network where there is one, else the trained one, not wrapped."""
        return getattr(self, 'net_g_ema', self.get_bare_model(self.net_g))

    def stop_signal(self):
        """The signal that has asked this process to stop, 0 for none."""
        return self.stop.signal if self.stop else 0

    @contextmanager
    def prepared(self):
        """Context in which :meth:`test` runs the inference form of the current weights, unless ``deploy: false``."""
        self.net_prepared = self.inference.prepare(self.net_to_validate())
        try:
            yield
        finally:
            self.net_prepared = None

    def test(self):
        self.output = self.inference(self.net_prepared or self.net_to_validate(), self.lq)

    def validation(self, dataloader, current_iter, tb_logger, save_img=False):
        """Validate on one dataset, all processes together; see Validation."""
        if not self.is_train:
            Validation(self, dataloader).run(current_iter, tb_logger, save_img)
            return
        # BasicSR's loop exceeds total_iter by one or two before it stops, and validates once more
        current_iter = min(current_iter, self.train_options.total_iter)
        name = dataloader.dataset.opt['name']
        if self.validated.get(name) != current_iter:
            with self.speed.pause():
                try:
                    Validation(self, dataloader).run(current_iter, tb_logger, save_img)
                except StopAsked as asked:
                    self._leave(current_iter, asked.args[0])
            if tb_logger and name == next(iter(self._validation_sets())):  # once for all sets
                for key, value in network_figures(self.net_to_validate()).items():
                    tb_logger.add_scalar(f'figures/{key}', value, current_iter)
            self.validated[name] = current_iter
        if self.pending and not self._missing(self.pending[1]):
            self._write(*self.pending)
            self.pending = None

    def _validation_sets(self):
        return {v['name']: v for key, v in sorted(self.opt['datasets'].items()) if key.split('_')[0] == 'val'}

    def _missing(self, current_iter):
        """Datasets whose validation of an iteration is still to come, [] where none is due then."""
        if not self.opt.get('val') or (current_iter % self.val_options.val_freq
                                       and current_iter < self.train_options.total_iter):
            return []
        return [name for name in self._validation_sets() if self.validated.get(name) != current_iter]

    def _validate_due(self, current_iter):
        for name in self.due:
            dataset_opt = self._validation_sets()[name]
            loader = build_dataloader(build_dataset(dataset_opt), dataset_opt)
            self.validation(loader, current_iter, None, self.val_options.save_img)
        self.due = []
        self._write(self._epoch_of(current_iter), current_iter)  # the state now holds its validations

    # ---- checkpoints ----------------------------------------------------------------------------------------------

    def networks(self):
        """Networks to save.

        Returns:
            dict[str, dict[str, nn.Module]]: Label of the file -> name of the parameters in it -> network.
        """
        nets = dict(params=self.net_g)
        if self.ema_decay > 0:
            nets['params_ema'] = self.net_g_ema
        return dict(net_g=nets)

    def save(self, epoch, current_iter):
        """Save networks and training state, after the validations that are due at this iteration.

        The state then includes their results, so that a resumed run neither misses nor repeats a validation.
        """
        if current_iter != -1 and self._missing(current_iter):
            self.pending = (epoch, current_iter)
        else:
            self._write(epoch, current_iter)

    def _write(self, epoch, current_iter):
        with self.speed.pause():
            random_states = gather(get_random_state(), self.opt)
            if self.opt['rank'] == 0:
                networks = {label: {key: self.get_bare_model(net) for key, net in nets.items()}
                            for label, nets in self.networks().items()}  # yapf: disable
                fingerprints = checkpoint.write_networks(self.opt, networks, current_iter)
            if self.opt['rank'] == 0 and current_iter != -1:
                state = self._state(epoch, current_iter, random_states)
                state['memnet_basicsr']['networks'] = fingerprints
                checkpoint.write_state(self.opt, state, list(networks), self.train_options.keep_last)

    def _state(self, epoch, current_iter, random_states):
        kept = ('datasets', 'train', 'val', 'logger', *RunOptions.model_fields)
        return {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [v.state_dict() for v in self.optimizers],
            'schedulers': [v.state_dict() for v in self.schedulers],
            'memnet_basicsr': {
                'manual_seed': self.opt['manual_seed'],
                'random': random_states,
                'step': self.step.state_dict(),
                'best_metric_results': self.best_metric_results,
                'validated': self.validated,
                'due': self._missing(current_iter),
                'metrics_lines': count_lines(self._metrics_path()),
                'options': {
                    k: v
                    for k, v in self.opt.items() if k in kept or k.startswith('network_')
                },
                **{
                    key: self.opt[key]
                    for key in ('batch_size', 'num_images') if key in self.opt
                },
            }
        }

    def _metrics_path(self):
        return osp.join(self.opt['path']['log'], 'metrics.jsonl')

    def resume_training(self, resume_state):
        resume(self, resume_state)
        ours = resume_state.get('memnet_basicsr')
        logger = get_root_logger()
        if ours is None:
            logger.warning('The training state was written by BasicSR and has no random states or best metrics: '
                           'resuming is not exact.')
            return
        self.step.load_state_dict(ours['step'])
        self.best_metric_results, self.validated = ours['best_metric_results'], ours['validated']
        self.due = [name for name in ours['due'] if name in self._validation_sets()]
        if self.opt['rank'] == 0:
            keep_lines(self._metrics_path(), ours['metrics_lines'])
        if len(ours['random']) == self.opt['world_size']:
            set_random_state(ours['random'][self.opt['rank']])
        else:
            logger.warning(f'The training state has random states of {len(ours["random"])} process(es), but this run '
                           f'has {self.opt["world_size"]}: they are not restored, and the data order changes.')

    def _epoch_of(self, done_iter):
        return done_iter // self.opt.get('iters_per_epoch', done_iter + 1)

    def _leave(self, done_iter, signal):
        """Save and exit, between two iterations or instead of a validation, so that resuming is exact."""
        if done_iter > 0:
            self._write(self._epoch_of(done_iter), done_iter)
        saved = 'state saved, resume with --auto_resume' if done_iter > 0 else 'nothing to save yet'
        get_root_logger().warning(f'Stopped by signal {signal} after iteration {done_iter}: {saved}.')
        sys.exit(128 + signal)
