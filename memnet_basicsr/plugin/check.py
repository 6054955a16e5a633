"""Check the options of a run against the option classes, before anything is opened or written."""
import inspect
import os
import torch
from os import path as osp

from basicsr.utils import registry
from ..data.options import LoaderOptions
from ..engine.checkpoint import EXPORTED
from ..engine.optim import parameter_groups
from ..engine.options import StockValOptions  # yapf: disable
from ..engine.options import LoggerOptions, MetricOptions, PathOptions, PerSetOptions, RunOptions, StockTrainOptions
from ..errors import UsageError, near
from ..option_block import Block, inner_blocks, shown
from .basicsr_options import BY_NAME, OtherStockOptions
from .strangers import PACKAGE, is_ours, lookup
from .trial import arguments_of, built, output_of, quiet
from .yaml_file import Fault, number_as_text

# arguments of metrics that the validator fills in
GIVEN_TO_METRICS = ('img', 'img2', 'mask', 'abnormality', 'kwargs')
# losses that download weights when they are built
NOT_BUILT = ('PerceptualLoss', )
# BasicSR's models that read the block `train:` as SRModel does
PLAIN_MODELS = ('SRModel', 'SwinIRModel')
# BasicSR's models that cannot do without a discriminator
GAN_MODELS = ('SRGANModel', 'ESRGANModel', 'RealESRGANModel', 'HiFaceGANModel', 'StyleGAN2Model')


def check_options(opt, is_train=True, here=True):
    """Find every mistake in the options of a run.

    Args:
        opt (dict): Options as read from the file; those of the command line (``--force_yml``) are in them.
        is_train (bool): Whether they are for training. Default: True.
        here (bool): Also check what depends on this machine: folders, weights, GPUs. Default: True.

    Returns:
        list[Fault]: Mistakes in the order of the blocks.
    """
    return _Check(opt, is_train, here).run()


class Blocks:
    """Option classes of a run, which its model may have extended.

    Args:
        model (type | None): Class of the model.
    """

    def __init__(self, model):
        from ..models.restoration_model import RestorationModel
        known = model if hasattr(model, 'TrainOptions') else RestorationModel
        self.run, self.logger = RunOptions, LoggerOptions
        self.train, self.val, self.path = known.TrainOptions, known.ValOptions, known.PathOptions
        self.networks = known.networks_read
        self.exact = model is None or hasattr(model, 'TrainOptions')
        if not self.exact:  # a model of BasicSR or of somebody else
            self.train, self.val, self.path = StockTrainOptions, StockValOptions, PathOptions
            self.networks = ()
            self.exact = model.__name__ in PLAIN_MODELS


def dataset_options(cls):
    """Option class of a dataset: its attribute ``Options``, or what this package knows of BasicSR's.

    Args:
        cls (type): Class of the dataset.

    Returns:
        type[Block]: Option class; a class that allows any option where nothing is known.
    """
    found = getattr(cls, 'Options', None)
    if isinstance(found, type) and issubclass(found, Block):
        return found
    return BY_NAME.get(cls.__name__, OtherStockOptions)


class _Check:

    def __init__(self, opt, is_train, here):
        self.opt, self.is_train, self.here = opt, is_train, here
        self.faults = []
        self.model = lookup(registry.MODEL_REGISTRY, opt.get('model_type'))
        self.blocks = Blocks(self.model)

    def fault(self, place, text):
        if not any(v.place == place for v in self.faults):  # the first reason is the deepest
            self.faults.append(Fault(place, text))

    def run(self):
        self._top()
        self._datasets()
        self._block('path', self.blocks.path)
        train = self._block('train', self.blocks.train) if self.is_train else None
        if self.is_train:
            self._losses()
        val = self._block('val', self.blocks.val)
        self._metrics(self.opt.get('val'), ('val', ))
        if self.is_train:
            self._block('logger', LoggerOptions)
        self._across(train, val)
        for key, block in self.opt.items():
            if str(key).startswith('network_'):
                self._network(key, block)
        self._one_output()
        self._reconstruction()
        self._texts(self.opt, ())
        if self.here:
            self._machine()
        order = list(self.opt)
        return sorted(self.faults, key=lambda v: order.index(v.place[0]) if v.place and v.place[0] in order else -1)

    # ---- blocks ---------------------------------------------------------------------------------------------------

    def _top(self):
        needed = ['name', 'model_type', 'num_gpu', 'datasets', 'network_g', 'path']
        needed += ['train', 'logger'] if self.is_train else ['val']
        for key in needed:
            if self.opt.get(key) is None:
                self.fault((key, ), f'is missing{near(key, self.opt)}')
        blocks = ('datasets', 'path', 'train', 'val', 'logger')
        scalars = {k: v for k, v in self.opt.items() if k not in blocks and not str(k).startswith('network_')}
        self._validate(RunOptions, scalars, (), exact=self.blocks.exact)
        self._type(self.opt.get('model_type'), registry.MODEL_REGISTRY, ('model_type', ))
        for key in self.opt:
            if str(key).startswith('network_') and self.blocks.exact and self.blocks.networks \
                    and key not in self.blocks.networks:  # yapf: disable
                self.fault((key, ), f'is not used by {self.opt["model_type"]}, which builds '
                           f'{" and ".join(self.blocks.networks)}; remove the block')  # yapf: disable
        if self.model is not None and self.model.__name__ in GAN_MODELS and not self.opt.get('network_d'):
            self.fault(('network_d', ), f'is missing; {self.model.__name__} trains against a discriminator')

    def _block(self, key, cls):
        block = self.opt.get(key)
        if block is None:
            return None
        if not isinstance(block, dict):
            self.fault((key, ), 'must be a block of options')
            return None
        if key == 'path':
            for name, value in block.items():
                if str(name).startswith('pretrain_network_') and str(value).endswith('.onnx'):
                    self.fault((key, name), f'{value} {EXPORTED}')
            block = {k: v for k, v in block.items() if not self._path_of_network(k)}
        return self._validate(cls, block, (key, ), exact=self.blocks.exact)

    def _path_of_network(self, key):
        """``pretrain_network_d`` and the like of networks that the model builds."""
        prefixes = ('pretrain_network_', 'param_key_', 'strict_load_')
        return any(str(key).startswith(v) and f'network_{str(key)[len(v):]}' in self.opt for v in prefixes) \
            and key not in self.blocks.path.model_fields  # yapf: disable

    def _validate(self, cls, block, place, exact=True, phase=None, skip=(), siblings=None):
        """Check a block against a class.

        ``skip`` holds keys that other classes have checked, ``siblings`` all keys of the block if it holds a part.
        """
        known, siblings = {}, block if siblings is None else siblings
        for key, value in block.items():
            if key in skip:
                continue
            if key not in cls.model_fields:
                if exact and cls.model_config['extra'] != 'allow':
                    self.fault((*place, key), f'unknown option{self._belongs(key, near(key, cls.model_fields), place)}')
                continue
            notes = cls.extra(key)
            if notes.get('injected'):
                self.fault((*place, key), 'is set by BasicSR; remove the line')
                continue
            if phase and notes.get('phase', phase) != phase:
                other = 'training' if notes['phase'] == 'train' else 'validation'
                self.fault((*place, key), f'is read in {other} sets only; remove the line')
                continue
            known[key] = value
        for key in cls.model_fields:
            needed = cls.extra(key).get('needed')
            wanted = needed == 'always' or needed == ('train' if self.is_train else 'test')
            if wanted and block.get(key) is None and cls.extra(key).get('phase', phase) == phase:
                self.fault((*place, key), f'is missing{near(key, [v for v in siblings if v not in cls.model_fields])}')
                known.pop(key, None)
        if phase:
            scale = self.opt.get('scale', 1)
            known.update(phase=phase, scale=scale if isinstance(scale, int) and scale >= 1 else 1)
            known = {k: v for k, v in known.items() if k in cls.model_fields}
        found, faults = cls.check(known)
        for keys, text in faults:
            if text.startswith('unknown option'):
                text = f'unknown option{self._belongs(keys[-1], text[len("unknown option"):], (*place, *keys[:-1]))}'
            elif text == 'is missing' and len(keys) == 1:
                text += near(keys[0], [v for v in siblings if v not in cls.model_fields])
            self.fault((*place, *keys), self._number(_at(block, keys)) or text)
        return found

    @staticmethod
    def _number(value):
        wanted = number_as_text(value)
        return f"'{value}' is a string in YAML; write {wanted}" if wanted else None

    # ---- where an unknown option belongs --------------------------------------------------------------------------

    def places(self):
        """Every option of this run's classes and where it belongs.

        Returns:
            dict[str, list[str]]: Option -> blocks, as they are written.
        """
        found = {}

        def add(cls, place):
            for key, field in cls.model_fields.items():
                if not cls.extra(key).get('injected'):
                    found.setdefault(key, []).append(f'`{place}:`' if place else 'the top level')
                for inner in inner_blocks(field.annotation):
                    add(inner, f'{place}: {key}' if place else key)

        for place in ('train', 'val', 'logger', 'path', 'run'):
            add(getattr(self.blocks, place), '' if place == 'run' else place)
        for cls in (LoaderOptions, *{dataset_options(v) for v in self._dataset_classes().values()}):
            add(cls, 'datasets: train' if cls is LoaderOptions else 'datasets: ...')
        for key, block in self.opt.items():
            if str(key).startswith('network_') and isinstance(block, dict):
                cls = lookup(registry.ARCH_REGISTRY, block.get('type'))
                for name in inspect.signature(cls).parameters if cls else ():
                    found.setdefault(name, []).append(f'`{key}:`')
        for key in ('datasets', 'network_g', 'path', 'train', 'val', 'logger'):
            found.setdefault(key, []).append('the top level')
        return found

    def _belongs(self, key, own_names, place):
        """End of the message on an unknown option; ``own_names`` are near names in its own block, as text."""
        here = f'`{": ".join(map(str, place))}:`' if place else 'the top level'
        places = self.places()
        there = [v for v in places.get(key, ()) if v != here]
        if there:
            return f'; belongs in {" or ".join(dict.fromkeys(there))}'
        others = near(key, places)
        if own_names or not others:
            return own_names or '; remove the line'
        name = others.removeprefix('; closest match: ').split(', ')[0]
        return f'; closest match: {name} in {places[name][0]}'

    # ---- datasets ------------------------------------------------------------------------------------------------

    def _dataset_classes(self):
        blocks = self.opt.get('datasets')
        blocks = blocks if isinstance(blocks, dict) else {}
        found = {k: lookup(registry.DATASET_REGISTRY, v.get('type')) for k, v in blocks.items() if isinstance(v, dict)}
        return {k: v for k, v in found.items() if v}

    def _datasets(self):
        blocks = self.opt.get('datasets')
        if blocks is None:
            return
        if not isinstance(blocks, dict):
            self.fault(('datasets', ), 'must be a block of options')
            return
        if self.is_train and blocks.get('train') is None:
            self.fault(('datasets', 'train'), f'is missing{near("train", blocks)}')
        names, classes = {}, self._dataset_classes()
        wanted = ('train', 'val') if self.is_train else ('val', 'test')
        for key, block in blocks.items():
            place, phase = ('datasets', key), str(key).split('_')[0]
            if phase not in wanted:
                self.fault(place,
                           f'unknown dataset; use {"train, val, val_1, ..." if self.is_train else "test_1, ..."}')
                continue
            if not isinstance(block, dict):
                self.fault(place, 'must be a block of options')
                continue
            name = block.get('name')
            if name is not None and name in names and phase != 'train':
                self.fault((*place, 'name'), f'{name!r} is already used by {names[name]}; use unique dataset names')
            if phase != 'train':
                names[name] = key
            if 'type' not in block or block['type'] is None:
                self.fault((*place, 'type'), 'is missing')
                continue
            if key in classes:
                self._dataset(block, place, phase, dataset_options(classes[key]))
            else:
                self._type(block['type'], registry.DATASET_REGISTRY, (*place, 'type'))

    def _dataset(self, block, place, phase, cls):
        phase = 'train' if phase == 'train' else 'val'
        others = (LoaderOptions, PerSetOptions)
        for other in others:
            # a dataset may declare an option of these itself
            part = {k: v for k, v in block.items() if k in other.model_fields and k not in cls.model_fields}
            self._validate(other, part, place, phase=phase, siblings=block)
        skip = [k for other in others for k in other.model_fields if k not in cls.model_fields]
        self._validate(cls, block, place, phase=phase, skip=skip)
        if phase != 'train':
            self._metrics(block, place)

    # ---- what registered classes take -----------------------------------------------------------------------------

    def _type(self, name, known, place):
        """Find a registered class; a wrong name is a mistake."""
        if name is None:
            self.fault(place, 'is missing')
        elif lookup(known, name) is None:
            names = [v.removesuffix('_basicsr') for v, _ in known]
            self.fault(place, f'{shown(name)} is not registered{near(name, names)}; list the modules of your own '
                       'classes in `imports:`')  # yapf: disable
        return lookup(known, name)

    def _network(self, key, block):
        if block is None:
            return
        if not isinstance(block, dict):
            self.fault((key, ), 'must be a block of options')
            return
        cls = self._type(block.get('type'), registry.ARCH_REGISTRY, (key, 'type'))
        if cls is None or not self._arguments(cls, block, (key, )):
            return
        net, text = built(cls, block)
        if net is not None and key == 'network_g' and self.is_train and self.model is not None:
            self._takes_patches(net)
        if net is not None:
            self._rates(net, f'optim_{key[-1]}')
        if text:
            named = [v for v in block if v in text.replace(',', ' ').split()]
            self.fault((key, *named) if len(named) == 1 else (key, ), text)

    def _rates(self, net, key):
        """Each pattern of ``lr_mult`` must match a parameter."""
        train = self.opt.get('train')
        block = train.get(key) if isinstance(train, dict) else None
        rates = block.get('lr_mult') if isinstance(block, dict) else None
        if isinstance(rates, dict) and all(isinstance(v, str) for v in rates):
            try:
                parameter_groups(net, 1, 1., dict.fromkeys(rates, 1))
            except UsageError as error:
                self.fault(('train', key, 'lr_mult'), str(error).removeprefix('lr_mult: '))

    def _losses(self):
        train = self.opt.get('train')
        for key, block in train.items() if isinstance(train, dict) else ():
            if not str(key).endswith('_opt') or not isinstance(block, dict):
                continue
            cls = self._type(block.get('type'), registry.LOSS_REGISTRY, ('train', key, 'type'))
            if cls is None or not self._arguments(cls, block, ('train', key)):
                continue
            if cls.__name__ not in NOT_BUILT:
                text = built(cls, block, 'cpu')[1]
                if text:
                    self.fault(('train', key), text)
                elif key == 'pixel_opt':
                    self._takes_outputs(cls, block)

    def _takes_outputs(self, cls, block):
        """A loss that takes one output cannot train a network that returns several."""
        network = self.opt.get('network_g')
        if not self._supervises_all(network):
            return
        outputs = [torch.zeros(1, 3, 32, 32), torch.zeros(1, 3, 32, 32)]
        try:
            with quiet():
                cls(**arguments_of(block))(outputs, outputs[0])
        except (TypeError, AttributeError):
            self.fault(('train', 'pixel_opt', 'type'),
                       f'{cls.__name__} takes one output, but {network["type"]} returns several in training; use '
                       'MultiSupervisedLoss or MultiOutputLoss, or set network_g: supervise: final')  # yapf: disable

    def _metrics(self, block, place):
        metrics = block.get('metrics') if isinstance(block, dict) else None
        for name, metric in metrics.items() if isinstance(metrics, dict) else ():
            here = (*place, 'metrics', name)
            if not isinstance(metric, dict):
                self.fault(here, 'must be a block with `type:`')
                continue
            found = self._type(metric.get('type'), registry.METRIC_REGISTRY, (*here, 'type'))
            for keys, text in MetricOptions.check(dict(metric))[1]:
                self.fault((*here, *keys), text)
            if found:
                own = {k: v for k, v in metric.items() if k == 'type' or k not in MetricOptions.model_fields}
                self._arguments(found, own, here, GIVEN_TO_METRICS, [*MetricOptions.model_fields])

    def _arguments(self, found, block, place, given=(), others=()):
        """Check the arguments of a class or function that is called with ``**block``; return whether they fit."""
        before, name = len(self.faults), block['type']
        parameters = inspect.signature(found).parameters
        swallows = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        allowed = [v for v, p in parameters.items() if v not in given and p.kind is not p.VAR_KEYWORD]
        for key, value in block.items():
            if key == 'type':
                continue
            # Metrics ignore unknown arguments, since validation passes all of its data to each of them.
            if key not in allowed and (given or not swallows):
                places = [v for v in self.places().get(key, ()) if v != f'`{": ".join(map(str, place))}:`']
                end = f'; belongs in {" or ".join(dict.fromkeys(places))}' if places else near(key, [*allowed, *others])
                self.fault((*place, key), f'{name} has no argument {key}{end}')
            elif key in allowed:
                text = self._number(value) or _wrong_kind(parameters[key], value)
                if text:
                    self.fault((*place, key), text)
        for key, p in parameters.items():
            if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD and key not in block and key not in given:
                self.fault((*place, key), f'is missing; {name} needs it')
        return len(self.faults) == before

    def _takes_patches(self, net):
        """The network must map patches of the training set to clean patches."""
        channels, side = self._patches()
        if self.faults or not side:
            return
        lq_side = side // self.opt.get('scale', 1)
        output, text = output_of(net, self.opt['network_g'], (1, channels, lq_side, lq_side))
        if text:
            text = f'cannot process them: {text}'
        elif tuple(output.shape[1:]) == (channels, side, side):
            return
        else:
            text = f'returns {" x ".join(map(str, output.shape[1:]))}'
        self.fault(('network_g', ), f'patches of datasets: train are {channels} x {lq_side} x {lq_side}, clean '
                   f'{channels} x {side} x {side}; {type(net).__name__} {text}')  # yapf: disable

    def _patches(self):
        """Channels and side of the clean training patches; None where the model or dataset is not known here."""
        cls = self._dataset_classes().get('train')
        known = self.model.__name__ in PLAIN_MODELS or self.model.__module__.split('.')[0] == PACKAGE
        if cls is None or not known or not (is_ours(cls) or cls.__name__ == 'PairedImageDataset'):
            return None, None
        options, block = dataset_options(cls).model_fields, self.opt['datasets']['train']
        if 'color' not in options:
            return None, None
        color = block.get('color', options['color'].default)
        return 1 if color in ('gray', 'y') else 3, block.get('gt_size')

    # ---- rules between blocks -------------------------------------------------------------------------------------

    def _across(self, train, val):
        datasets = self.opt.get('datasets')
        training = datasets.get('train') if isinstance(datasets, dict) else None
        batch = training.get('batch_size_per_gpu') if isinstance(training, dict) else None
        parts = getattr(train, 'accumulate', 1)
        if isinstance(batch, int) and batch >= 1 and batch % parts:
            self.fault(('train', 'accumulate'), f'{parts} does not divide batch_size_per_gpu: {batch}; use a divisor')
        network = self.opt.get('network_g')
        cls = lookup(registry.ARCH_REGISTRY, network.get('type')) if isinstance(network, dict) else None
        if cls is None or not is_ours(cls) or 'num_in_ch' not in inspect.signature(cls).parameters:
            return
        channels = network.get('num_in_ch', inspect.signature(cls).parameters['num_in_ch'].default)
        for key, found in self._dataset_classes().items():
            options = dataset_options(found)
            if not is_ours(found) or 'color' not in options.model_fields:
                continue
            color = datasets[key].get('color', options.model_fields['color'].default)
            wanted = {'gray': 1, 'y': 1, 'rgb': 3}.get(color if isinstance(color, str) else None)
            if wanted and channels != wanted and isinstance(channels, int):
                self.fault(('network_g', 'num_in_ch'), f'{channels} channels, but datasets: {key} gives {wanted} '
                           f'(color: {color}); make them equal')  # yapf: disable

    def _one_output(self):
        """BasicSR's discriminators and perceptual losses take one output, not all supervised ones."""
        train, network = self.opt.get('train'), self.opt.get('network_g')
        needs = 'perceptual_opt' if isinstance(train, dict) and train.get('perceptual_opt') else None
        if self.model is not None and self.model.__name__ in GAN_MODELS:
            needs = self.model.__name__
        if self.is_train and needs and not self.blocks.networks and self._supervises_all(network):
            self.fault(('network_g', 'supervise'), f'{needs} takes one output, but {network["type"]} returns several '
                       'in training; set supervise: final')  # yapf: disable

    def _reconstruction(self):
        """``train: reconstruction_opt`` and ``val: abnormality`` need the layers that reconstruct from the memory."""
        network, train, val = (self.opt.get(v) for v in ('network_g', 'train', 'val'))
        cls = lookup(registry.ARCH_REGISTRY, network.get('type')) if isinstance(network, dict) else None
        if cls is None or 'reconstruction' not in inspect.signature(cls).parameters:
            return
        needs = 'train: reconstruction_opt' if isinstance(train, dict) and train.get('reconstruction_opt') else None
        if isinstance(val, dict) and val.get('abnormality'):
            needs = 'val: abnormality'
        replaces = network.get('replace') and cls.__name__ == 'MemoryAugmented'  # whose reads then need no layers
        if needs and not (network.get('reconstruction') or replaces):
            self.fault(('network_g', ), f'{needs} needs the layers of the reconstruction; set reconstruction: true')

    @staticmethod
    def _supervises_all(network):
        """Whether a network of ours gives a list of outputs in training."""
        cls = lookup(registry.ARCH_REGISTRY, network.get('type')) if isinstance(network, dict) else None
        if cls is None or not is_ours(cls) or 'supervise' not in inspect.signature(cls).parameters:
            return False
        return network.get('supervise', 'all') != 'final' and bool(network.get('multi_supervised', True))

    def _texts(self, value, place):
        """Report ``lr: 1e-3`` anywhere: YAML 1.1 parses it as a string, which fails far from the option file."""
        if isinstance(value, str) and 'e' in value.lower() and place[-1] != 'name' and number_as_text(value):
            self.fault(place, self._number(value))
        for key, inner in value.items() if isinstance(value,
                                                      dict) else enumerate(value) if isinstance(value, list) else ():
            self._texts(inner, (*place, key))

    # ---- this machine ---------------------------------------------------------------------------------------------

    def _machine(self):
        gpus = self.opt.get('num_gpu')
        if isinstance(gpus, int) and gpus > torch.cuda.device_count():
            self.fault(('num_gpu', ), f'{gpus}, but this machine has {torch.cuda.device_count()}; use auto or 0')
        train = self.opt.get('train')
        if isinstance(train, dict) and train.get('sync_batchnorm') and not torch.cuda.is_available():
            self.fault(('train', 'sync_batchnorm'), 'not supported on the CPU; remove the option')
        datasets = self.opt.get('datasets')
        for phase, block in datasets.items() if isinstance(datasets, dict) else ():
            for key, root in block.items() if isinstance(block, dict) else ():
                if str(key).startswith('dataroot_') and isinstance(root, str):
                    text = data_root_fault(root)
                    if text:
                        self.fault(('datasets', phase, key), text)
            if isinstance(block, dict) and block.get('prefetch_mode') == 'cuda' and not torch.cuda.is_available():
                self.fault(('datasets', phase, 'prefetch_mode'), 'cuda needs a GPU; use cpu or ~')
        path = self.opt.get('path')
        state = path.get('resume_state') if isinstance(path, dict) else None
        if isinstance(state, str) and not osp.isfile(osp.expanduser(state)):
            self.fault(('path', 'resume_state'), f'{state} does not exist (current directory: {os.getcwd()})')


def data_root_fault(root):
    """What is wrong with a data root.

    Args:
        root (str): Folder or LMDB.

    Returns:
        str | None: It does not exist, is empty, or is an LMDB without meta file; None if nothing is.
    """
    root = osp.expanduser(root)
    if not osp.isdir(root):
        fault = 'is not a folder' if osp.exists(root) else 'does not exist'
        return f'{root} {fault} (current directory: {os.getcwd()})'
    if root.rstrip('/').endswith('.lmdb') and not osp.isfile(osp.join(root, 'meta_info.txt')):
        return f'{root} has no meta_info.txt: write the LMDB again with scripts/data_preparation/create_lmdb.py'
    if not any(os.scandir(root)):
        return f'{root} is empty'
    return None


def _at(block, keys):
    for key in keys:
        try:
            block = block[key]
        except (KeyError, IndexError, TypeError):
            return None
    return block


def _wrong_kind(parameter, value):
    """Compare a value with the kind of an argument's default: number, text, or true and false."""
    default = parameter.default
    if parameter.name == 'crop_border' and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        return f'{shown(value)} is not an integer >= 0'
    if default is parameter.empty or default is None or value is None:
        return None
    kinds = ((bool, bool, 'true or false'), ((int, float), (int, float), 'a number'), (str, (str, list), 'a string'))
    for kind, allowed, words in kinds:
        if isinstance(default, kind):
            fits = isinstance(value, allowed) and (kind is bool or not isinstance(value, bool))
            return None if fits else f'{shown(value)} is not {words}'
    return None
