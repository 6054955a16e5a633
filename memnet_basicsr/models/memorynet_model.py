import contextlib
import torch
from collections import OrderedDict
from typing import Any

from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from ..archs.memory_util import HierarchicalMemory
from ..engine import checkpoint
from ..engine.addressing_meter import AddressingMeter
from ..engine.options import OptimizerOptions, TrainStepOptions
from ..engine.step import TrainStep
from ..errors import UsageError
from ..option_block import option
from .restoration_model import RestorationModel


@MODEL_REGISTRY.register()
class MemoryNetModel(RestorationModel):
    """RestorationModel with memory reconstruction and a three-class contrastive loss.

    Memory augment is All You Need for image restoration, https://arxiv.org/abs/2309.01377. Trains any network:
    reconstruction needs its method ``reconstruct(x)``, contrast either ``network_c`` or its method ``features(x)``.
    Logs each loss term and, for the last step, the PSNR in dB of every output (``psnr_1`` is the final one), the
    addressing statistics of the memory, and the ratio of contrastive to reconstruction loss.

    Args:
        opt (dict): As RestorationModel, and
            network_c (dict): Encoder of the contrastive loss, such as ContrastEncoder. Default: the ``features`` of the
                network itself.
            path.pretrain_network_memory (str): Checkpoint of another training from which the memory (prototypes, gates,
                temperatures) is loaded; ``frozen: true`` keeps it fixed. Default: none.
            train (dict): See :class:`TrainOptions`. Prototypes have length sqrt(C) and hardly move in a short run with
                Adam at the network's learning rate, hence ``optim_g: lr_mult`` in the option files. ``network_c`` uses
                the network's precision; its steps are skipped if their gradient is not finite, and are not clipped.
    """
    networks_read = ('network_g', 'network_c')

    class TrainOptions(RestorationModel.TrainOptions):
        """``train:``"""
        reconstruction_opt: dict[str, Any] | None = option(None, 'Loss between `reconstruct(gt)` and `gt`.')
        contrast_opt: dict[str, Any] | None = option(None, 'ThreeClassContrastiveLoss and its arguments.')
        optim_c: OptimizerOptions | None = option(None, 'Optimizer of `network_c`.', on_resume='free')
        recording_iter: int = option(0, 'Initial iterations that train with the reconstruction loss only.',
                                     unit='iterations', ge=0)  # yapf: disable

        def rules(self):
            yield from super().rules()
            if self.recording_iter and not self.reconstruction_opt:
                yield 'recording_iter', 'needs reconstruction_opt'

    class ValOptions(RestorationModel.ValOptions):
        """``val:``"""
        abnormality: bool = option(False, 'Compute |Mem(Dec(Enc(x))) - x| of the restored images.')

    class PathOptions(RestorationModel.PathOptions):
        """``path:``"""
        pretrain_network_c: str | None = option(None, 'Weights of `network_c` to start from.')
        param_key_c: str | None = option('params', 'Key of the weights in that file.')
        pretrain_network_memory: str | None = option(
            None, 'Checkpoint from which only the memory is loaded (frozen with `frozen: true`).')

    def init_training_settings(self):
        self.recording_iter = self.train_options.recording_iter
        self.cri_reconstruction = self._build_loss('reconstruction_opt')
        self.cri_contrast = self._build_loss('contrast_opt')
        self.warned = set()
        self.worse_in_a_row = 0  # logs in which stage 3 was worse than stage 2
        self.net_c = None
        if self.cri_contrast and self.opt.get('network_c'):
            self.net_c = build_network(self.opt['network_c'])
            paths = self.path_options
            if paths.pretrain_network_c:
                self.load_network(self.net_c, paths.pretrain_network_c, True, paths.param_key_c)
            self.net_c = self.model_to_device(self.net_c)
        net = self.get_bare_model(self.net_g)
        if self.cri_reconstruction and not hasattr(net, 'reconstruct'):
            raise UsageError(f'train: reconstruction_opt: {type(net).__name__} has no method reconstruct; remove the '
                             'option')
        if self.cri_contrast and self.net_c is None and not hasattr(net, 'features'):
            raise UsageError(f'train: contrast_opt: {type(net).__name__} has no method features; add network_c')
        self.meters = []
        self.memories = [m for m in net.modules() if isinstance(m, HierarchicalMemory)]
        path = self.path_options.pretrain_network_memory
        if path and not self.path_options.resume_state:
            self._load_memory(net, path)
        super().init_training_settings()

    def _load_memory(self, net, path):
        weights = checkpoint.load(path)
        weights = weights.get('params_ema', weights.get('params', weights))
        if not self.memories:
            raise UsageError(f'path: pretrain_network_memory: {type(net).__name__} has no memory; remove the option')
        for name, memory in net.named_modules():
            if isinstance(memory, HierarchicalMemory):
                own = {k.removeprefix(f'{name}.'): v for k, v in weights.items() if k.startswith(f'{name}.')}
                checkpoint.check_fits(memory, own, path)
                memory.load_state_dict(own)
        get_root_logger().info(f'Loaded the memory from {path}.')

    def _build_loss(self, key):
        opt = getattr(self.train_options, key)
        return build_loss(opt).to(self.device) if opt else None

    def setup_optimizers(self):
        super().setup_optimizers()
        self.optimizer_c = None
        if self.net_c is not None:
            options = self.train_options
            if not options.optim_c:
                raise UsageError('train: optim_c is missing: network_c needs an optimizer')
            self.optimizer_c = self._optimizer(self.net_c, 'optim_c')
            self.optimizers.append(self.optimizer_c)
            step_options = TrainStepOptions(precision=options.precision, nonfinite_patience=options.nonfinite_patience)
            self.step_c = TrainStep(step_options, self.optimizer_c, self.device)

    def networks(self):
        nets = super().networks()
        if self.net_c is not None:
            nets['net_c'] = dict(params=self.net_c)
        return nets

    def _state(self, *args):
        state = super()._state(*args)
        if self.net_c is not None:
            state['memnet_basicsr']['step_c'] = self.step_c.state_dict()
        return state

    def resume_training(self, resume_state):
        super().resume_training(resume_state)
        state = resume_state.get('memnet_basicsr', {}).get('step_c')
        if state and self.net_c is not None:
            self.step_c.load_state_dict(state)

    def optimize_parameters(self, current_iter):
        self.recording = current_iter <= self.recording_iter
        if current_iter % self.opt['logger']['print_freq'] == 0:
            self.meters = [AddressingMeter(memory) for memory in self.memories]
        super().optimize_parameters(current_iter)
        if self.cri_contrast and self.net_c is not None and not self.recording:
            self.log_dict.update(self.reduce_loss_dict(self._train_encoder(current_iter)))

    def compute_losses(self, lq, gt):
        losses = super().compute_losses(lq, gt)
        if self.recording:
            # the network has run all the same, so that with several processes gradients are averaged
            losses = OrderedDict(l_unused=0 * sum(losses.values()))
        if self.cri_reconstruction:
            with self.step.autocast():
                found = self.get_bare_model(self.net_g).reconstruct(gt)
            losses['l_reconstruction'] = self.cri_reconstruction(found.float(), gt)
        if self.cri_contrast and not self.recording:
            restored = self.output[0] if isinstance(self.output, list) else self.output
            losses.update(self._contrast(restored, gt, lq))
        return losses

    def _encode(self, *images):
        encoder = self.net_c if self.net_c is not None else self.get_bare_model(self.net_g).features
        with self.step.autocast():
            feats = [encoder(image) for image in images]
        return [tuple(v.float() for v in feat) for feat in feats]

    def _contrast_terms(self, feats, role):
        try:
            return self.cri_contrast(*feats, role=role)
        except ValueError as error:
            raise UsageError(f'train: contrast_opt: {error}') from None

    def _contrast(self, restored, gt, lq):
        """Restorer term, with a frozen encoder; if the network is its own encoder, also the encoder terms."""
        own_stage = self.net_c is None
        bare = self.get_bare_model(self.net_g if own_stage else self.net_c)
        with frozen(bare):
            feats = [self._encode(restored)[0]]
            with torch.no_grad():
                feats += self._encode(gt, lq)
        terms = self._contrast_terms(feats, 'restorer')
        if own_stage:
            terms.update(self._contrast_terms(self._encode(restored.detach(), gt, lq), 'encoder'))
        return {f'l_{name}': value for name, value in terms.items()}

    def _train_encoder(self, current_iter):
        """One step of ``network_c`` on the images of the last step."""
        restored = self.output[0] if isinstance(self.output, list) else self.output
        size = len(restored)  # with accumulation the last part
        feats = self._encode(restored.detach(), self.gt[-size:], self.lq[-size:])
        terms = self._contrast_terms(feats, 'encoder')
        if not terms:
            return OrderedDict()
        losses = OrderedDict((f'l_{name}', value) for name, value in terms.items())
        return self.step_c(self.net_c, (), lambda: losses, current_iter)[0]

    @torch.no_grad()
    def get_current_log(self):
        log = super().get_current_log()
        log.pop('l_unused', None)
        outputs = self.output if isinstance(self.output, list) else [self.output]
        for i, output in enumerate(outputs, 1):
            gt = self.gt[-len(output):]
            log[f'psnr_{i}'] = float(-10 * torch.log10(((output.float() - gt)**2).mean().clamp(min=1e-12)))
        for k, meter in enumerate(self.meters):
            log.update((name if k == 0 else f'{name}_{k}', value) for name, value in meter.close().items())
        self.meters = []
        if log.get('l_reconstruction') and 'l_contrast' in log:
            log['contrast_ratio'] = log['l_contrast'] / log['l_reconstruction']
        self._warn_of_failures(log)
        return log

    def _warn_of_failures(self, log):
        """Warn once about common failure modes."""
        worse = log.get('psnr_2', 0) > log['psnr_1'] + 0.1
        self.worse_in_a_row = self.worse_in_a_row + 1 if worse else 0
        losses = {k: v for k, v in log.items() if k.startswith('l_') and k != 'l_contrast_encoder'}
        first, total = max(losses, key=losses.get), sum(losses.values())
        flat = [k for k, v in log.items() if k.startswith('entropy_') and v > 0.995]
        same = [k for k, v in log.items() if k.startswith('information_') and v < 0.01]
        found = OrderedDict()
        if same:
            found['constant'] = (
                f'the memory returns nearly the same read everywhere ({", ".join(same)} below 0.01) and acts as a '
                'bias; set memory_opt: centred: true')
        if flat:
            found['uniform'] = (f'memory addressing is nearly uniform ({", ".join(flat)} above 0.995); lower '
                                'memory_opt: temperature')
        if len(losses) > 1 and total > 0 and losses[first] > 0.95 * total:
            found['dominant'] = f'{first} is {losses[first] / total:.0%} of the total loss; adjust the loss weights'
        if self.worse_in_a_row >= 5:
            found['stages'] = (f'the final output ({log["psnr_1"]:.2f} dB) is worse than the previous stage '
                               f'({log["psnr_2"]:.2f} dB) in {self.worse_in_a_row} consecutive logs')
        for name, text in found.items():
            if name not in self.warned:
                self.warned.add(name)
                get_root_logger().warning(f'{text} (reported once)')

    def get_current_visuals(self):
        """Also ``abnormality``: |Mem(Dec(Enc(x))) - x|, mean over channels, (1, 1, H, W), if set in ``val:``."""
        visuals = super().get_current_visuals()
        if self.val_options.abnormality:
            with torch.no_grad():
                found = self.net_to_validate().reconstruct(self.lq)
            visuals['abnormality'] = (found - self.lq).abs().mean(1, keepdim=True).cpu()
        return visuals


@contextlib.contextmanager
def frozen(net):
    """Context that freezes the parameters of a network; gradients still flow to its input."""
    trained = [p for p in net.parameters() if p.requires_grad]
    for p in trained:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in trained:
            p.requires_grad_(True)
