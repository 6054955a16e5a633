"""Options of training, validation and logging: one class per block of an option file."""
from pydantic import ConfigDict, Field
from typing import Annotated, Any, ClassVar, Literal

from ..errors import UsageError, near
from ..option_block import Block, option

# ---- optimizer and schedule -----------------------------------------------------------------------------------------


class StockOptimizerOptions(Block):
    """Optimizer built by BasicSR's models. Any argument of the class is accepted; the common ones are listed."""
    model_config = ConfigDict(extra='allow')
    by_basicsr: ClassVar[bool] = True

    type: str = option(..., 'Class of `torch.optim`.', on_resume='stop')
    lr: float = option(..., 'Learning rate.', gt=0)
    weight_decay: float | None = option(None, "Weight decay. Default: the class's.", ge=0)
    betas: list[float] | None = option(None, 'Decay rates of the running averages of the gradient and its square. '
                                       "Default: the class's.", min_length=2, max_length=2)  # yapf: disable
    momentum: float | None = option(None, "Momentum (SGD, RMSprop, Muon). Default: the class's.", ge=0, lt=1)
    eps: float | None = option(None, "Added to the denominator for numerical stability. Default: the class's.", ge=0)
    fused: bool | None = option(None, "Use the fused implementation, where torch has one. Default: the class's.")

    def arguments(self):
        """Arguments of the class besides its parameters and learning rate.

        Returns:
            dict: Those that were given.
        """
        given = {**self.given(), **(self.model_extra or {})}
        return {k: v for k, v in given.items() if k not in ('type', 'lr') and v is not None}

    def rules(self):
        import inspect
        import torch

        from basicsr.models.base_model import BaseModel
        from .no_compiler import without_compiler
        from .optim import build_optimizer, optimizers
        stand_in = [torch.nn.Parameter(torch.zeros(2, 2))]  # for the network: the class checks its own arguments
        if self.by_basicsr:
            try:  # the last release builds Adam only
                with without_compiler():
                    BaseModel.get_optimizer(None, self.type, stand_in, self.lr)
            except NotImplementedError:
                yield 'type', f"BasicSR's models do not build {self.type!r}; use Adam, or RestorationModel"
                return
        found = optimizers().get(self.type)
        allowed = inspect.signature(found).parameters if found else self.arguments()
        unknown = [key for key in self.arguments() if key not in allowed]
        for key in unknown:
            yield key, f'unknown option{near(key, allowed)}' if key not in type(self).model_fields else \
                f'{self.type} has no argument {key}; remove the line'
        if unknown:
            return
        try:
            with without_compiler():
                build_optimizer(self.type, stand_in, self.lr, **self.arguments())
        except UsageError as error:
            yield (), str(error)


class OptimizerOptions(StockOptimizerOptions):
    """Optimizer of ``torch.optim``, or Muon. Any argument of the class is accepted; the common ones are listed."""
    by_basicsr: ClassVar[bool] = False

    type: str = option(..., 'Class of `torch.optim`, or `Muon`.', on_resume='stop')
    bias_lr_mult: float = option(1, 'Factor on the learning rate of the biases of convolutions.', ge=0)
    lr_mult: dict[str, Annotated[float, Field(gt=0)]] = option(
        {}, 'Shell patterns of parameter names, each with a factor on the learning rate (of Muon and AdamW steps; '
        'multiplied by `bias_lr_mult`). The first match applies; a pattern without match is an error.')
    muon_lr_mult: float | None = option(None, 'Factor on `lr` for the Muon steps (Muon). Default: 10.', ge=0)

    def arguments(self):
        return {k: v for k, v in super().arguments().items() if k not in ('bias_lr_mult', 'lr_mult')}


class SchedulerOptions(Block):
    """A learning rate schedule, stepped once per iteration."""

    @property
    def length(self):
        """Length of the schedule in iterations; None if it has no end."""
        return None

    def arguments(self):
        """Arguments of the class besides the optimizer."""
        return {k: v for k, v in self.given().items() if k != 'type'}


class MultiStepOptions(SchedulerOptions):
    """The learning rate falls by a factor at milestones."""
    type: Literal['MultiStepLR', 'MultiStepRestartLR'] = option(..., 'Name of the schedule.')
    milestones: list[int] = option(..., 'Iterations at which the learning rate falls.', unit='iterations')
    gamma: float = option(0.1, 'Factor on the learning rate at each milestone.', gt=0)
    restarts: list[int] = option([0], 'Iterations at which the schedule restarts.', unit='iterations')
    restart_weights: list[float] = option([1], 'Factor on the initial learning rate after each restart.')

    def rules(self):
        if len(self.restarts) != len(self.restart_weights):
            yield 'restart_weights', (f'has {len(self.restart_weights)} items, but restarts has {len(self.restarts)}; '
                                      'give one per restart')  # yapf: disable


class CosineRestartOptions(SchedulerOptions):
    """Cosine annealing in periods to one last learning rate."""
    type: Literal['CosineAnnealingRestartLR'] = option(..., 'Name of the schedule.')
    periods: list[Annotated[int, Field(ge=1)]] = option(..., 'Length of each period.', unit='iterations', min_length=1)
    restart_weights: list[float] = option([1], 'Factor on the learning rate of each period.')
    eta_min: float = option(0, 'Last learning rate of each period.', ge=0)

    @property
    def length(self):
        return sum(self.periods)

    def rules(self):
        if len(self.periods) != len(self.restart_weights):
            yield 'restart_weights', (f'has {len(self.restart_weights)} items, but periods has {len(self.periods)}; '
                                      'give one per period')  # yapf: disable


class CosineCyclicOptions(SchedulerOptions):
    """Cosine annealing in periods, each with its own last learning rate (Restormer's)."""
    type: Literal['CosineAnnealingRestartCyclicLR'] = option(..., 'Name of the schedule.')
    periods: list[Annotated[int, Field(ge=1)]] = option(..., 'Length of each period.', unit='iterations', min_length=1)
    restart_weights: list[float] = option([1], 'Factor on the learning rate of each period.')
    eta_mins: list[float] = option([0], 'Last learning rate of each period.')

    @property
    def length(self):
        return sum(self.periods)

    def rules(self):
        for key in ('restart_weights', 'eta_mins'):
            if len(getattr(self, key)) != len(self.periods):
                yield key, (f'has {len(getattr(self, key))} items, but periods has {len(self.periods)}; give one per '
                            'period')  # yapf: disable


class TrueCosineOptions(SchedulerOptions):
    """One half cosine, torch's CosineAnnealingLR under NAFNet's name."""
    type: Literal['TrueCosineAnnealingLR'] = option(..., 'Name of the schedule.')
    T_max: int = option(..., 'Length of the schedule.', unit='iterations', ge=1)
    eta_min: float = option(0, 'Last learning rate.', ge=0)

    @property
    def length(self):
        return self.T_max


StockScheduler = Annotated[MultiStepOptions | CosineRestartOptions, Field(discriminator='type')]
AnyScheduler = Annotated[MultiStepOptions | CosineRestartOptions | CosineCyclicOptions | TrueCosineOptions,
                         Field(discriminator='type')]

# ---- train: ---------------------------------------------------------------------------------------------------------


class ClipOptions(Block):
    """Gradient clipping; set one of the three options."""
    norm: float | None = option(None, 'Clip the global L2 norm of the gradients to this value.', gt=0)
    value: float | None = option(None, 'Clip each gradient entry to [-value, value].', gt=0)
    adjustable: float | None = option(None, "Clip the global L2 norm to this value / learning rate (MemNet's theta).",
                                      gt=0)  # yapf: disable

    def rules(self):
        if sum(v is not None for v in self.given().values()) > 1:
            yield (), 'give one of norm, value and adjustable'


class TrainStepOptions(Block):
    """Options of :class:`memnet_basicsr.engine.step.TrainStep`."""
    precision: Literal['fp32', 'bf16', 'fp16'] = option('fp32', 'Autocast precision; fp16 also scales the loss.')
    accumulate: int = option(1, 'Gradient accumulation: number of parts that each batch is split into.', ge=1)
    grad_clip: ClipOptions | None = option(None, 'Clip gradients: `{norm: c}`, `{value: c}` or `{adjustable: c}`.')
    use_grad_clip: bool = option(False, 'Same as `grad_clip: {norm: 0.01}`, as spelled by NAFNet and Restormer.')
    nonfinite_patience: int = option(
        10, 'Consecutive steps with a non-finite gradient that stop the run.', on_resume='free', ge=1)

    def rules(self):
        if self.grad_clip is not None and self.use_grad_clip:
            yield 'grad_clip', 'conflicts with use_grad_clip, which clips the norm to 0.01; remove one of them'


class MixingOptions(Block):
    """Restormer's block for MixUp."""
    mixup: bool = option(False, 'Blend each pair of a batch with another pair of the batch.')
    mixup_beta: float = option(1.2, 'Parameter of the Beta(beta, beta) distribution of the blending weight.', gt=0)
    use_identity: bool = option(False, 'Skip MixUp for each batch with probability 0.5.')


class MixUpOptions(Block):
    """Options of :class:`memnet_basicsr.engine.mixup.MixUp`."""
    mixing_augs: MixingOptions | None = option(None, 'MixUp, as in Restormer.')
    mixup: bool = option(False, "MixUp, NAFNet's short form.")


class StockTrainOptions(Block):
    """``train:`` as BasicSR's SRModel reads it."""
    optim_g: StockOptimizerOptions = option(..., 'Optimizer of `network_g`.', on_resume='free')
    scheduler: StockScheduler = option(..., 'Learning rate schedule.', on_resume='free')
    total_iter: int = option(..., 'Iterations of the run.', unit='iterations', on_resume='free', ge=1)
    warmup_iter: int = option(-1, 'Linear warm-up, in place of the first iterations of the schedule; -1 disables it.',
                              unit='iterations', on_resume='free', ge=-1)  # yapf: disable
    pixel_opt: dict[str, Any] | None = option(None, 'Pixel loss: `type` and its arguments.')
    perceptual_opt: dict[str, Any] | None = option(None, "BasicSR's PerceptualLoss: `type` and its arguments.")
    ema_decay: float = option(
        0, 'Decay of the exponential moving average (EMA) of the weights; 0 disables EMA.', ge=0, lt=1)

    def rules(self):
        yield from super().rules()
        length = self.scheduler.length
        if length is not None and length < self.total_iter:
            yield 'total_iter', (f'{self.total_iter} exceeds the {length} iterations of scheduler '
                                 f'{self.scheduler.type}; make them equal')  # yapf: disable
        if self.warmup_iter >= self.total_iter:
            yield 'warmup_iter', f'{self.warmup_iter} must be below total_iter: {self.total_iter}'
        if not self.pixel_opt and not self.perceptual_opt:
            yield 'pixel_opt', 'is missing; set pixel_opt or perceptual_opt, otherwise there is no loss'


class TrainOptions(StockTrainOptions, TrainStepOptions, MixUpOptions):
    """``train:`` of :class:`memnet_basicsr.models.restoration_model.RestorationModel`."""
    optim_g: OptimizerOptions = option(..., 'Optimizer of `network_g`.', on_resume='free')
    scheduler: AnyScheduler = option(..., 'Learning rate schedule.', on_resume='free')
    ema_warmup: bool = option(False, 'Limit the EMA decay to (1 + iter) / (10 + iter), for short runs.')
    channels_last: bool = option(False, 'Use the channels_last memory format.', on_resume='free')
    compile: bool | str = option(
        False, 'Compile the network with `torch.compile`; a string selects the backend.', on_resume='free')
    recompute: bool = option(
        False, 'Activation checkpointing in the blocks of MemoryNet: less memory, more time.', on_resume='free')
    fix_norm_iter: int | None = option(
        None, 'Iteration from which BatchNorm uses its running statistics, as in inference; its scale and bias '
        'are still trained.', unit='iterations', on_resume='free', ge=1)  # yapf: disable
    sync_batchnorm: bool = option(False, 'Convert BatchNorm to SyncBatchNorm (distributed training on GPUs only).')
    keep_last: int | None = option(None, 'Number of newest checkpoints to keep; `~` keeps all.', on_resume='free', ge=1)

    def rules(self):
        yield from super().rules()
        if isinstance(self.compile, str):
            import torch
            known = torch.compiler.list_backends(exclude_tags=())
            if self.compile not in known:
                yield 'compile', (f'{self.compile!r} is not a torch.compile backend{near(self.compile, known)}; use '
                                  'true for the default backend')  # yapf: disable


# ---- val: -----------------------------------------------------------------------------------------------------------


class MetricOptions(Block):
    """A metric: its type and arguments, and how validation uses it."""
    model_config = ConfigDict(extra='allow')

    type: str = option(..., 'Registered metric, such as `calculate_psnr`.')
    better: Literal['higher', 'lower'] = option('higher', 'Whether higher or lower values are better.')

    def arguments(self):
        """Options that the metric itself takes, ``type`` included."""
        return {k: v for k, v in self.model_dump().items() if k != 'better'}


class PerSetOptions(Block):
    """Validation options that a dataset may override; the default is the value in ``val:``."""
    metrics: dict[str, MetricOptions] | None = option(None, 'Name in the log -> `type` and arguments of a metric.',
                                                      phase='val')  # yapf: disable
    quantize: bool = option(True, 'Compute metrics on clipped uint8 images; false: on float images.', phase='val')
    max_images: int | None = option(None, 'Validate on the first N images only; `~` for all.', phase='val', ge=1)
    save_panel: bool = option(False, 'Write `*_panel.png`: input | restored | clean | error.', phase='val')
    per_image_csv: bool = option(False, 'Write the metrics of each image to a CSV file in the log folder.', phase='val')


class StockValOptions(Block):
    """``val:`` as BasicSR reads it."""
    val_freq: int | None = option(None, 'Iterations between validations.', unit='iterations', needed='train', ge=1)
    save_img: bool = option(False, 'Write the restored images.', needed='always')
    suffix: str | None = option(None, 'Suffix of restored images in testing. Default: the name of the run.')
    metrics: dict[str, MetricOptions] | None = option(None, 'Name in the log -> `type` and arguments of a metric.')
    pbar: bool = option(False, 'Show a progress bar.')


class ValidationOptions(StockValOptions, PerSetOptions):
    """Options of :class:`memnet_basicsr.engine.validation.Validation`."""


# ---- the other blocks -----------------------------------------------------------------------------------------------


class WandbOptions(Block):
    """Weights & Biases."""
    project: str | None = option(None, 'W&B project; `~` disables W&B.')
    resume_id: str | None = option(None, 'ID of the W&B run to resume.')


class LoggerOptions(Block):
    """``logger:``"""
    print_freq: int = option(..., 'Iterations between log lines.', unit='iterations', ge=1)
    save_checkpoint_freq: int = option(..., 'Iterations between checkpoints.', unit='iterations', ge=1)
    use_tb_logger: bool = option(..., 'Write TensorBoard files.')
    wandb: WandbOptions | None = option(None, 'Weights & Biases; needs `use_tb_logger: true`.')

    def rules(self):
        if self.wandb and self.wandb.project and not self.use_tb_logger:
            yield 'wandb', 'needs use_tb_logger: true'


class PathOptions(Block):
    """``path:``"""
    pretrain_network_g: str | None = option(None, 'Weights to start from: file, name of bundled weights, or URL.')
    param_key_g: str | None = option('params', 'Key of the weights in the checkpoint: `params` or `params_ema`.')
    strict_load_g: bool = option(True, 'Require all keys and shapes to match; false skips those that differ.')
    resume_state: str | None = option(None, 'Training state to resume from; `--auto_resume` finds the newest.')
    ignore_resume_networks: list[str] | None = option(None, 'Networks whose weights are not loaded when resuming.')


class ResumeOptions(Block):
    """``resume:``"""
    allow_changes: bool = option(False, 'Resume although options differ that make the run another one (data, network).')


class RunOptions(Block):
    """Options outside of any block."""
    name: str = option(..., 'Name of the run and of its folder.', on_resume='free')
    model_type: str = option(..., 'Registered model, such as `RestorationModel`.')
    scale: int = option(1, 'Scale of super-resolution; BasicSR copies it to the datasets.', ge=1)
    num_gpu: Annotated[int, Field(ge=0)] | Literal['auto'] = option(...,
                                                                    'GPUs to use; 0 for the CPU, `auto` for all.',
                                                                    on_resume='free')
    manual_seed: int | None = option(None, 'Seed of the run; `~` draws one.', ge=0, le=2**32 - 1024)
    dist_params: dict[str, Any] | None = option(None, 'Arguments of the launcher `slurm`.', on_resume='free')
    imports: str | list[str] | None = option(
        None,
        'Modules, or paths of files, that register your own networks, losses or datasets; imported at the start.',
        on_resume='free')
    find_unused_parameters: bool = option(False, 'DistributedDataParallel: look for parameters without gradient.',
                                          on_resume='free')  # yapf: disable
    resume: ResumeOptions | None = option(None, 'How a run is resumed.', on_resume='free')

    def rules(self):
        if not self.name.strip() or self.name in ('.', '..') or any(c in '/\\:*?"<>|' or ord(c) < 32
                                                                    for c in self.name):
            yield 'name', f'{self.name!r} is not a valid folder name; use letters, digits, `-`, `_`, `+` and `.`'
        elif len(self.name.encode()) > 150:
            yield 'name', f'is {len(self.name.encode())} bytes long, too long for log file names; use at most 150'
