import sys
import time
import torch
from collections import OrderedDict
from os import path as osp
from torch import nn as nn

from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.dist_util import master_only
from basicsr.utils.registry import MODEL_REGISTRY
from ..engine import checkpoint
from ..engine.optim import build_optimizer, build_scheduler, parameter_groups
from ..engine.step import TrainStep
from ..engine.validation import Validation
from ..inference import Inference


@MODEL_REGISTRY.register()
class RestorationModel(SRModel):
    """BasicSR's SRModel with what restoration needs, for any registered network.

    - Steps (:class:`TrainStep`): mixed precision, accumulation, clipping, no step on a gradient that is not finite.
    - Checkpoints (:mod:`memnet_basicsr.engine.checkpoint`): whole or not at all; a resumed run goes on exactly.
    - Validation (:class:`Validation`): float metrics, metrics per data set, sharded, through :class:`Inference`.

    All options stand in those classes and here, under ``train:``; without them it trains as SRModel does.

    Args:
        opt (dict): Options of the run, as BasicSR parses them. Of ``train:`` it reads also:
            ema_decay (float): Decay of the averaged network, buffers (BatchNorm statistics) included. Default: 0.
            channels_last (bool): Memory format of the network. Default: False.
            compile (bool): ``torch.compile`` the network. Default: False.
            sync_batchnorm (bool): BatchNorm over all processes. Default: False.
            keep_last (int): Keep only so many training states and their networks. Default: all.
            optim_g.type (str): Any optimiser of ``torch.optim``; ``bias_lr_mult``: factor for the biases of
                convolutions.
            scheduler.type (str): See ``memnet_basicsr.engine.optim.SCHEDULERS``.
    """

    def __init__(self, opt):
        self.best_metric_results = {}
        self.validated = {}  # data set -> iteration of its last validation
        self.pending = None  # (epoch, iteration) of a checkpoint that waits for its validations
        self.inference = Inference.from_options(opt.get('val'))
        super().__init__(opt)

    # ---- training -------------------------------------------------------------------------------------------------

    def init_training_settings(self):
        super().init_training_settings()
        train_opt = self.opt['train']
        self.step = TrainStep(train_opt, self.optimizer_g, self.device)
        self.stop = checkpoint.StopRequest()
        self.images, self.waited, self.mark, self.start = 0, 0., time.perf_counter(), time.perf_counter()
        self.log_dict = OrderedDict()

    def model_to_device(self, net):
        train_opt = self.opt.get('train') or {}
        if self.is_train and train_opt.get('channels_last'):
            net = net.to(memory_format=torch.channels_last)
        if self.is_train and train_opt.get('sync_batchnorm') and self.opt['dist']:
            net = nn.SyncBatchNorm.convert_sync_batchnorm(net)
        if self.is_train and train_opt.get('compile'):
            net.compile()
        return super().model_to_device(net)

    def setup_optimizers(self):
        optim_opt = dict(self.opt['train']['optim_g'])
        groups = parameter_groups(self.net_g, optim_opt.pop('bias_lr_mult', 1), optim_opt['lr'])
        self.optimizer_g = build_optimizer(optim_opt.pop('type'), groups, **optim_opt)
        self.optimizers.append(self.optimizer_g)

    def setup_schedulers(self):
        scheduler_opt = dict(self.opt['train']['scheduler'])
        scheduler_type = scheduler_opt.pop('type')
        self.schedulers += [build_scheduler(scheduler_type, v, **scheduler_opt) for v in self.optimizers]

    def update_learning_rate(self, current_iter, warmup_iter=-1):
        if self.stop.signal or self.opt['dist']:
            self._leave_if_asked(current_iter - 1)
        super().update_learning_rate(current_iter, warmup_iter)

    def feed_data(self, data):
        if self.is_train:
            now = time.perf_counter()
            self.waited += now - self.mark
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
            terms = getattr(self.cri_pix, 'terms', None)  # of a loss of several parts, each is logged
            losses.update({f'l_{k}': v for k, v in terms(self.output, gt).items()} if terms else
                          {'l_pix': self.cri_pix(self.output, gt)})
        if self.cri_perceptual:
            final = self.output[0] if isinstance(self.output, list) else self.output
            percep, style = self.cri_perceptual(final, gt)
            losses.update((name, v) for name, v in (('l_percep', percep), ('l_style', style)) if v is not None)
        return losses

    def optimize_parameters(self, current_iter):
        losses, done = self.step(self.net_g, (self.lq, self.gt), self.compute_losses, current_iter)
        self.log_dict = self.reduce_loss_dict(losses)
        if done and self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        self.images += len(self.lq) * self.opt['world_size']
        self.mark = time.perf_counter()

    @torch.no_grad()
    def model_ema(self, decay=0.999):
        """Average the parameters and the floating-point buffers; copy the other buffers (counters)."""
        own = self.get_bare_model(self.net_g).state_dict(keep_vars=True)
        averaged = self.net_g_ema.state_dict(keep_vars=True)
        pairs = [(averaged[k].data, own[k].data) for k in averaged]
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        if floats:
            ours, theirs = map(list, zip(*floats))
            torch._foreach_mul_(ours, decay)
            torch._foreach_add_(ours, theirs, alpha=1 - decay)
        for ours, theirs in pairs:
            if not ours.is_floating_point():
                ours.copy_(theirs)

    def get_current_log(self):
        """Losses of the last step, and since the last call: images per second, share of waiting for data, memory."""
        elapsed = max(time.perf_counter() - self.start, 1e-9)
        log = OrderedDict(self.log_dict, grad_norm=float(self.step.grad_norm), img_s=self.images / elapsed)
        log['data_wait'] = self.waited / elapsed
        log['mem_gb'] = peak_memory(self.device) / 2**30
        self.images, self.waited, self.start = 0, 0., time.perf_counter()
        return log

    # ---- validation -----------------------------------------------------------------------------------------------

    def test(self):
        self.output = self.inference(getattr(self, 'net_g_ema', self.get_bare_model(self.net_g)), self.lq)

    def validation(self, dataloader, current_iter, tb_logger, save_img=False):
        """Validate on one data set, all processes together; see Validation."""
        name = dataloader.dataset.opt['name']
        start = time.perf_counter()
        if self.is_train:  # BasicSR's loop counts one or two on before it breaks, and validates once more
            current_iter = min(current_iter, int(self.opt['train']['total_iter']))
        if not self.is_train or self.validated.get(name) != current_iter:
            Validation(self, dataloader).run(current_iter, tb_logger, save_img)
            self.validated[name] = current_iter
        if self.pending and all(self.validated.get(v) == self.pending[1] for v in self._validation_sets()):
            self._write(*self.pending)
            self.pending = None
        if self.is_train:
            self.mark = time.perf_counter()
            self.start += self.mark - start  # rates are those of training

    def _validation_sets(self):
        return [v['name'] for key, v in self.opt['datasets'].items() if key.split('_')[0] == 'val']

    # ---- checkpoints ----------------------------------------------------------------------------------------------

    def networks(self):
        """Networks of a checkpoint: label of the file -> key in it -> network."""
        nets = dict(params=self.net_g)
        if self.ema_decay > 0:
            nets['params_ema'] = self.net_g_ema
        return dict(net_g=nets)

    def save(self, epoch, current_iter):
        """Save networks and training state; where a validation of this iteration is due, after it.

        A state holds what its iteration brought, so that a resumed run neither lacks nor repeats a validation.
        """
        val_opt = self.opt.get('val')
        if current_iter != -1 and val_opt and self._validation_sets() and current_iter % val_opt['val_freq'] == 0:
            self.pending = (epoch, current_iter)
        else:
            self._write(epoch, current_iter)

    def _write(self, epoch, current_iter):
        start = time.perf_counter()
        random_states = [checkpoint.get_random_state()]
        if self.opt['dist']:
            random_states = [None] * self.opt['world_size']
            torch.distributed.all_gather_object(random_states, checkpoint.get_random_state())
        self._write_files(epoch, current_iter, random_states)
        self.mark = time.perf_counter()
        self.start += self.mark - start

    @master_only
    def _write_files(self, epoch, current_iter, random_states):
        for label, nets in self.networks().items():
            weights = {key: {k: v.cpu() for k, v in self.get_bare_model(net).state_dict().items()}
                       for key, net in nets.items()}  # yapf: disable
            checkpoint.save_whole(weights, checkpoint.network_path(self.opt, label, current_iter))
        if current_iter == -1:
            return
        state = {
            'epoch': epoch,
            'iter': current_iter,
            'optimizers': [v.state_dict() for v in self.optimizers],
            'schedulers': [v.state_dict() for v in self.schedulers],
            'memnet_basicsr': {
                'random': random_states,
                'step': self.step.state_dict(),
                'best_metric_results': self.best_metric_results,
                'validated': self.validated,
                'metrics_lines': self._count_metrics_lines(),
            }
        }
        # the state is written last: what has a state is complete
        checkpoint.save_whole(
            checkpoint.plain(state), osp.join(self.opt['path']['training_states'], f'{current_iter}.state'))
        if self.opt['train'].get('keep_last'):
            checkpoint.remove_older(self.opt, list(self.networks()), self.opt['train']['keep_last'])

    def _count_metrics_lines(self):
        path = osp.join(self.opt['path']['log'], 'metrics.jsonl')
        if not osp.isfile(path):
            return 0
        with open(path, encoding='utf-8') as f:
            return sum(1 for _ in f)

    def resume_training(self, resume_state):
        super().resume_training(resume_state)
        ours = resume_state.get('memnet_basicsr')
        if ours is None:
            get_root_logger().warning('The training state was written by BasicSR: random states and best records are '
                                      'not in it.')
            return
        self.step.load_state_dict(ours['step'])
        self.best_metric_results = ours['best_metric_results']
        self.validated = ours['validated']
        if self.opt['rank'] == 0:
            checkpoint.keep_lines(osp.join(self.opt['path']['log'], 'metrics.jsonl'), ours['metrics_lines'])
        if len(ours['random']) == self.opt['world_size']:
            checkpoint.set_random_state(ours['random'][self.opt['rank']])

    def load_network(self, net, load_path, strict=True, param_key='params'):
        """Load a network's weights; with ``strict`` a checkpoint of another configuration is told in one line."""
        if strict:
            weights = checkpoint.load(load_path)
            key = param_key if param_key in weights or 'params' not in weights else 'params'
            weights = weights if key is None else weights.get(key, {})
            weights = {k[len('module.'):] if k.startswith('module.') else k: v for k, v in weights.items()}
            checkpoint.check_fits(self.get_bare_model(net), weights, load_path)
        super().load_network(net, load_path, strict, param_key)

    def _leave_if_asked(self, done_iter):
        """Save and leave when SIGTERM or Ctrl-C has come; between two iterations, so that resuming is exact."""
        number = self.stop.agreed(self.device, self.opt['dist'])
        if not number:
            return
        if done_iter > 0 and done_iter not in checkpoint.saved_iterations(self.opt['path']['training_states']):
            self._write(done_iter // self.opt.get('iters_per_epoch', sys.maxsize), done_iter)
        get_root_logger().warning(f'Stopped by signal {number} after iteration {done_iter}; the state is saved. '
                                  'Go on with --auto_resume.')
        sys.exit(128 + number)


def peak_memory(device):
    """Largest memory this process has held, in bytes: on the GPU what tensors took, on the CPU the resident set."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return float('nan')
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024
