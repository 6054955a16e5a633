"""Option files before a run: read, changed by the command line, checked as a whole."""
import ast
import importlib
import os
import re
import sys
import traceback
from os import path as osp

from basicsr.utils import options as stock_options
from ..errors import UsageError, near
from ..inference.weights import find_weights
from . import check
from .yaml_file import Fault, OptionFile, load_yaml, read_option_file  # noqa: F401


def is_training_file(opt):
    """Whether options are for training; others are for testing."""
    datasets = opt.get('datasets')
    return bool(opt.get('train')) or (isinstance(datasets, dict) and 'train' in datasets)


def import_modules(file):
    """Import what ``imports:`` names: modules or files that register networks, losses or datasets of the user.

    Args:
        file (OptionFile): The file. Its paths are relative to the current folder, or else to the file's.

    Raises:
        UsageError: A module does not exist, or raises when it is imported.
    """
    names = file.options.get('imports') or []
    for name in [names] if isinstance(names, str) else names:
        try:
            import_user_module(str(name), osp.dirname(file.path))
        except UsageError as error:
            raise UsageError(file.message(Fault(('imports', ), str(error)))) from None


def import_user_module(name, folder='.'):
    """Import a module by its name, or by the path of its file.

    The folder of the file, or the current one, is added to ``sys.path``, so that other processes find the module too.

    Args:
        name (str): ``my_package.my_arch`` or ``my_folder/my_arch.py``.
        folder (str): Where a path is looked for besides the current folder. Default: '.'.

    Raises:
        UsageError: It does not exist, or raises.
    """
    path = None
    if name.endswith('.py'):
        path = next((v for v in (name, osp.join(folder, name)) if osp.isfile(v)), None)
        if path is None:
            raise UsageError(f'{name} does not exist')
        path = osp.abspath(path)
    place = os.getcwd() if path is None else osp.dirname(path)
    if place not in sys.path:
        sys.path.append(place)
    try:
        module = importlib.import_module(name if path is None else osp.basename(path)[:-len('.py')])
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = '' if frame.filename.startswith('<') or 'importlib' in frame.filename else \
            f' ({frame.filename}, line {frame.lineno})'
        text = (str(error) or type(error).__name__).splitlines()[0]
        raise UsageError(f'{name} cannot be imported: {type(error).__name__}: {text}{where}') from None
    if path is not None and osp.realpath(module.__file__ or '') != osp.realpath(path):
        raise UsageError(f'{name}: {module.__file__} has that name already; rename the file')


def check_file(file, is_train=None, here=True):
    """Check an option file as a whole.

    Args:
        file (OptionFile): The file.
        is_train (bool | None): Whether it is for training; None asks the file. Default: None.
        here (bool): Also check what depends on this machine: folders, GPUs. Default: True.

    Raises:
        UsageError: One line for every mistake.
    """
    is_train = is_training_file(file.options) if is_train is None else is_train
    faults = file.faults + check.check_options(file.options, is_train, here)
    if faults:
        lines = [file.message(v) for v in sorted(faults, key=lambda v: v.line or file.line(v.place))]
        raise UsageError('\n'.join(dict.fromkeys(lines)))


def check_blocks(opt, path, is_train=True):
    """Check that options have the blocks that BasicSR takes for granted.

    Args:
        opt (dict): Options.
        path (str): Where they come from, for the message.
        is_train (bool): Whether they are for training. Default: True.

    Raises:
        UsageError: A block is missing or is not a mapping.
    """
    for key in ('datasets', 'network_g', 'path', *(('train', 'logger') if is_train else ('val', ))):
        if not isinstance(opt.get(key), dict):
            fault = 'is missing' if opt.get(key) is None else 'must be a block of options'
            raise UsageError(f'{path}: {key}: {fault}{near(key, opt) if key not in opt else ""}')


def override(file, entries):
    """Change options as ``--force_yml`` does, and refuse what BasicSR would execute as code.

    Args:
        file (OptionFile): The file; its options are changed.
        entries (list[str]): ``block:key=value``, as on the command line.

    Raises:
        UsageError: An entry is not of that form, names a block that the file does not have, or is code.
    """
    for entry in entries or ():
        keys, sign, text = entry.partition('=')
        keys = keys.strip().split(':')
        if not sign or '=' in text or not all(re.fullmatch(r'[\w+.-]+', v) for v in keys):
            raise UsageError(f'--force_yml {entry}: write block:key=value, such as train:total_iter=100')
        block = file.options
        for key in keys[:-1]:
            block = block.get(key) if isinstance(block, dict) else None
            if not isinstance(block, dict):
                raise UsageError(f'--force_yml {entry}: {file.path} has no block `{key}:`'
                                 f'{near(key, file.options)}')  # yapf: disable
        try:
            value = text.strip()
            value = ast.literal_eval(value) if value.startswith('[') else stock_options._postprocess_yml_value(value)
        except (ValueError, SyntaxError):
            raise UsageError(f'--force_yml {entry}: {text} is not a plain value') from None
        block[keys[-1]] = value


def check_launcher(launcher, file):
    """Check that the processes which a launcher needs are there, and a launcher where options need one.

    Args:
        launcher (str): 'none', 'pytorch' or 'slurm'.
        file (OptionFile): The option file of the run.

    Raises:
        UsageError: The run was not started by that launcher, or needs one.
    """
    if launcher == 'none' and (file.options.get('train') or {}).get('sync_batchnorm'):
        raise UsageError(file.message(Fault(('train', 'sync_batchnorm'), 'needs several processes (torchrun and '
                                            '--launcher pytorch); remove the line for one')))  # yapf: disable
    variable, command = {'pytorch': ('RANK', 'torchrun'), 'slurm': ('SLURM_PROCID', 'srun')}.get(launcher, (None, None))
    if variable and variable not in os.environ:
        raise UsageError(f'--launcher {launcher}: {variable} is not set; start the run with {command}')


def find_pretrained(opt, path):
    """Replace bundled names and URLs in ``path: pretrain_network_*`` by the paths of their files.

    Args:
        opt (dict): Options of the run; changed.
        path (str): Path of the option file, for the message.

    Raises:
        UsageError: There is no such file, name or address, and the run does not resume from a state.
    """
    for key, source in opt['path'].items():
        if key.startswith('pretrain_network_') and isinstance(source, str):
            try:
                opt['path'][key] = find_weights(source)
            except UsageError as error:
                if not opt['auto_resume'] and not opt['path'].get('resume_state'):
                    raise UsageError(f'{path}: path: {key}: {error}') from None
