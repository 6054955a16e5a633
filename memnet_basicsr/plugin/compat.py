"""Patches for BasicSR 1.4.2 on current PyTorch and Python: one function per breakage, applied only where needed.

``before_basicsr`` makes BasicSR importable, ``after_basicsr`` makes its pipelines run. Both are called when
``memnet_basicsr`` is imported. The numbers are the rows of the breakage list in CONTRIBUTING.md.
"""
import functools
import importlib.metadata
import importlib.util
import os
import sys
import sysconfig
import time
import types
import warnings
from contextlib import contextmanager
from os import path as osp

# what was repaired in this process, one sentence each
repairs = []
# notes and warnings for the first lines of the log
notes = []
warnings_for_log = []

# `python -m memnet_basicsr.plugin.compat` runs this file again after the package has imported it, which is harmless
warnings.filterwarnings('ignore', "'memnet_basicsr.plugin.compat' found in sys.modules", RuntimeWarning)


def before_basicsr():
    """Make ``import basicsr`` work. Idempotent; nothing to do where BasicSR is absent."""
    if importlib.util.find_spec('basicsr') is None:
        return
    if 'torchvision' not in sys.modules:
        provide_torchvision_operators()
    provide_functional_tensor()
    provide_distutils()


def after_basicsr():
    """Make BasicSR's pipelines run. Idempotent; BasicSR must have been imported."""
    distribute_without_gpu()
    wait_for_archive_name()


def version():
    """Version of the installed plug-in."""
    try:
        return importlib.metadata.version('memnet-basicsr')
    except importlib.metadata.PackageNotFoundError:
        return 'not installed, imported from its folder'


def report():
    """The plug-in's version and the repairs made in this process.

    Returns:
        str: Several lines, for the first lines of a log.
    """
    lines = [f'memnet_basicsr: {version()}', f'\tRepairs made for BasicSR: {len(repairs)}']
    return '\n'.join(['\n\t\t'.join(['\n'.join(lines), *repairs]), *notes,
                      *(f'Warning: {v}' for v in warnings_for_log)])  # yapf: disable


def report_to_strangers():
    """The one log line of runs that use nothing of this package.

    Returns:
        str: One line.
    """
    return '; '.join([f'memnet_basicsr: {version()}, not used by this option file', *notes])


def provide_torchvision_operators():
    """Row 2: ``import torchvision`` fails beside a CPU build of torch, since its compiled operators cannot load.

    Torchvision registers fake kernels for operators that then do not exist. Their schemas are defined and the import is
    tried again. Acts only when torch is a CPU build and the import has failed with that error.
    """
    try:
        import torchvision
        return
    except RuntimeError as error:
        import torch
        if torch.version.cuda is not None or getattr(torch.version, 'hip', None) or 'torchvision::' not in str(error):
            raise
    for name in [v for v in sys.modules if v == 'torchvision' or v.startswith('torchvision.')]:
        del sys.modules[name]
    library = torch.library.Library('torchvision', 'FRAGMENT')
    for schema in ('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
                   'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor'):
        library.define(schema)
    provide_torchvision_operators.library = library  # the definitions live as long as this object
    import torchvision  # noqa: F401
    repairs.append('row 2: torchvision cannot load its compiled operators beside the CPU build of torch; '
                   'nms and qnms were declared so that it imports (calling them still fails)')


def provide_functional_tensor():
    """Row 1: ``torchvision.transforms.functional_tensor`` was removed from torchvision; BasicSR 1.4.2 imports it."""
    name = 'torchvision.transforms.functional_tensor'
    if name in sys.modules or not _basicsr_mentions('functional_tensor', 'data', 'degradations.py'):
        return
    if importlib.util.find_spec(name) is not None:
        return
    from torchvision.transforms import functional
    module = types.ModuleType(name, 'Supplied by memnet_basicsr.plugin.compat for BasicSR 1.4.2.')
    module.rgb_to_grayscale = functional.rgb_to_grayscale
    sys.modules[name] = module
    repairs.append(f'row 1: {name} does not exist any more; rgb_to_grayscale is supplied under that name')


def provide_distutils():
    """Python 3.12 has no ``distutils``; BasicSR compares versions with its LooseVersion.

    Where setuptools is installed it brings one, and nothing is done.
    """
    if importlib.util.find_spec('distutils') is not None or not _basicsr_mentions('distutils', 'archs', 'arch_util.py'):
        return
    from packaging.version import Version
    package, module = types.ModuleType('distutils'), types.ModuleType('distutils.version')
    package.version, module.LooseVersion = module, Version
    sys.modules.update({'distutils': package, 'distutils.version': module})
    repairs.append('distutils does not exist any more; LooseVersion is supplied under that name')


def _basicsr_mentions(word, *file):
    """Whether the file of BasicSR that imported a removed module still does (some were mended after 1.4.2)."""
    spec = importlib.util.find_spec('basicsr')
    path = osp.join(next(iter(spec.submodule_search_locations)), *file)
    if not osp.isfile(path):
        return False
    with open(path, encoding='utf-8') as f:
        return word in f.read()


def accept_local_rank_spelling(argv):
    """Row 4: ``torch.distributed.launch`` of torch 2 passes ``--local-rank``, BasicSR's parser knows ``--local_rank``.

    Args:
        argv (list[str]): Command line, changed in place.
    """
    for i, arg in enumerate(argv):
        if arg == '--local-rank' or arg.startswith('--local-rank='):
            argv[i] = arg.replace('--local-rank', '--local_rank', 1)
            repairs.append('row 4: --local-rank was read as --local_rank')


def distribute_without_gpu():
    """Row 5: BasicSR counts GPUs to choose one, also where there is none. Without a GPU, gloo runs on the CPU."""
    from basicsr.models.base_model import BaseModel
    from basicsr.utils import dist_util
    if hasattr(BaseModel.model_to_device, '__wrapped__'):
        return
    for name in ('_init_dist_pytorch', '_init_dist_slurm'):
        setattr(dist_util, name, _initialise_without_gpu(getattr(dist_util, name)))
    BaseModel.model_to_device = _model_to_cpu(BaseModel.model_to_device)


def _initialise_without_gpu(stock):

    @functools.wraps(stock)
    def init_dist(backend, **kwargs):
        import torch
        if torch.cuda.is_available():
            return stock(backend, **kwargs)
        repairs.append('row 5: no GPU: processes use gloo, networks stay on the CPU')
        with pretend(torch.cuda, device_count=lambda: 1, set_device=lambda device: None):
            return stock('gloo', **kwargs)

    return init_dist


def _model_to_cpu(stock):

    @functools.wraps(stock)
    def model_to_device(self, net):
        import torch
        if not self.opt['dist'] or torch.cuda.is_available():
            return stock(self, net)
        return torch.nn.parallel.DistributedDataParallel(
            net.to(self.device), find_unused_parameters=self.opt.get('find_unused_parameters', False))

    return model_to_device


def wait_for_archive_name():
    """Row 23: an earlier run is archived under a time in seconds, which fails if that second's name is taken."""
    import basicsr.utils
    from basicsr.utils import misc
    stock = misc.mkdir_and_rename
    if hasattr(stock, '__wrapped__'):
        return

    @functools.wraps(stock)
    def mkdir_and_rename(path):
        while osp.exists(path) and osp.exists(f'{path}_archived_{misc.get_time_str()}'):
            time.sleep(0.1)
        return stock(path)

    misc.mkdir_and_rename = basicsr.utils.mkdir_and_rename = mkdir_and_rename


@contextmanager
def pretend(module, **attributes):
    """Replace attributes of a module within a ``with`` block."""
    before = {name: getattr(module, name) for name in attributes}
    for name, value in attributes.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def load_resume_state(opt):
    """Rows 6 and 7: find the newest state where this run writes, and load it on any device.

    BasicSR looks below the current directory while runs live below ``experiments_root``, and maps to a CUDA device.
    This takes the place of the function of the same name in ``train.py``, which calls it right after it has stored its
    own root in ``root_path``; TensorBoard's files go below that, so it is corrected here.

    Args:
        opt (dict): Options of the run; ``root_path`` is changed, ``resume_position`` is added for the loader.

    Returns:
        dict | None: The training state, its tensors on the CPU (optimizers move them to their parameters' device).

    Raises:
        UsageError: The state that ``path: resume_state`` names does not exist or is damaged, no state of the run can be
            loaded, or it was saved with options that cannot be changed.
    """
    import torch

    from basicsr.utils import check_resume as stock_check_resume
    from ..engine import checkpoint
    from .resume import check_resume
    opt['root_path'] = run_root(opt['root_path'])
    path = opt['path'].get('resume_state')
    if opt['auto_resume']:
        path, state, skipped = checkpoint.newest_state(opt)
        opt['path']['resume_state'] = path
        warnings_for_log.extend(skipped)
        if path and not osp.isdir(osp.join('experiments', opt['name'], 'training_states')):
            repairs.append('row 7: --auto_resume looks where the run writes, not below the current directory')
    elif path:
        state = checkpoint.load_state(opt, path)
    if not path:
        return None
    notes.extend(check_resume(opt, state, path))
    if not torch.cuda.is_available():
        repairs.append('row 6: no GPU: the training state is loaded to the CPU')
    stock_check_resume(opt, state['iter'])
    opt['resume_position'] = (state['epoch'], state['iter'])
    ours = state.get('memnet_basicsr', opt)
    if opt.get('seed_drawn') or 'options' not in ours:  # else it was compared
        opt['manual_seed'] = ours['manual_seed']
    return state


def resume_without_gpu(stock):
    """Row 6, for runs that use nothing of this package: let BasicSR's function load to the CPU.

    Args:
        stock (Callable): ``load_resume_state`` of ``train.py``.

    Returns:
        Callable: The same function, which works without a GPU.
    """

    def load_resume_state(opt):
        import torch
        if torch.cuda.is_available():
            return stock(opt)
        load = functools.partial(torch.load, weights_only=True)
        with pretend(torch.cuda, current_device=lambda: 0), \
                pretend(torch, load=lambda path, map_location: load(path, map_location='cpu')):
            return stock(opt)

    return load_resume_state


def run_root(root_path):
    """Root folder of a run: scripts of an *installed* BasicSR would write into site-packages.

    Args:
        root_path (str): Root that the script has taken, the parent of its own folder.

    Returns:
        str: The current directory if that root is site-packages, else the root (a checkout keeps BasicSR's habit).
    """
    installed = {sysconfig.get_path('purelib'), sysconfig.get_path('platlib')}
    installed.update(path for path in sys.path if osp.basename(path) in ('site-packages', 'dist-packages'))
    root = osp.realpath(root_path)
    return os.getcwd() if root in {osp.realpath(path) for path in installed if path} else root_path


if __name__ == '__main__':
    import memnet_basicsr
    print(memnet_basicsr.plugin.compat.report())
