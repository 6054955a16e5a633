"""Put MemNet, MemoryNet or both into a copy of BasicSR: one commit on a new branch of a checkout, or just the files.

    python scripts/contribute_upstream.py --basicsr ../BasicSR --dry-run
    python scripts/contribute_upstream.py --basicsr ../BasicSR --only memnet

You see the files, what stays in the plug-in, and in a git checkout the new branch (memnet, memorynet or
memnet_memorynet). An unpacked source archive gets the files alone. Nothing is changed unless everything can be done; a
file that is there with another content is overwritten only with --force. Needs isort. CONTRIBUTING.md has the rules.

Every file keeps its text, but for its imports, the names of files and modules that move, and the suffix under which it
registers: an installed plug-in and the copy in BasicSR live together, and the plug-in's classes win.
"""
import argparse
import ast
import functools
import re
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OURS = 'memnet_basicsr'

# where BasicSR keeps what our folders hold; what has no place here cannot move
PLACES = {
    'archs': 'archs',
    'data': 'data',
    'losses': 'losses',
    'metrics': 'metrics',
    'models': 'models',
    'analysis': 'utils.analysis',
    'engine': 'utils.engine',
    'inference': 'utils.inference',
    'atomic_file': 'utils.atomic_file',
    'errors': 'utils.errors',
}

# what moves with a network; what these files import comes along by itself
NETWORKS = dict(
    memnet=dict(
        title='MemNet',
        package=('archs/memnet_arch', 'archs/memnet_caffe', 'losses/multi_supervised_loss', 'data/noisy_image_dataset',
                 'data/jpeg_image_dataset', 'data/bicubic_image_dataset', 'models/restoration_model'),
        scripts=('create_lmdb', )),
    memorynet=dict(
        title='MemoryNet',
        package=('archs/memorynet_arch', 'archs/memory_augmented_arch', 'archs/contrast_arch', 'losses/edge_loss',
                 'losses/multi_output_loss', 'losses/contrastive_loss', 'losses/psnr_loss',
                 'data/paired_masked_dataset', 'metrics/abnormality', 'metrics/lab_error', 'metrics/luma',
                 'metrics/masked_literature', 'metrics/region_psnr_ssim', 'metrics/ssim_3d', 'models/memorynet_model'),
        scripts=('prepare_gopro', 'prepare_istd', 'prepare_raindrop', 'prepare_rice')))

# of these the tests move that use nothing but what moves or is there already
TESTS = ('test_analysis/test_gate_norms', 'test_archs/test_memnet_arch', 'test_archs/test_memory_augmented_arch',
         'test_archs/test_memory_util', 'test_archs/test_memorynet_arch', 'test_data/test_degraded_image_datasets',
         'test_data/test_lmdb_util', 'test_data/test_paired_masked_dataset', 'test_engine/test_mixup',
         'test_engine/test_optim', 'test_engine/test_step', 'test_inference/test_inference',
         'test_losses/test_contrastive_loss', 'test_losses/test_edge_loss', 'test_losses/test_multi_output_loss',
         'test_losses/test_multi_supervised_loss', 'test_losses/test_psnr_loss', 'test_metrics/test_abnormality',
         'test_metrics/test_metrics', 'test_models/test_restoration_model', 'test_scripts/test_create_lmdb',
         'test_scripts/test_prepare_pairs')  # yapf: disable
FIXTURES = ('test_data', 'test_metrics')  # folders whose conftest.py their tests need
NO_OPTIONS = ('_demo', '_small', '_tiny')  # of the demo, the weights that come with the plug-in, its ablations

# BasicSR has another script of the old name
RENAMED = ('create_lmdb', 'write_lmdb')

REPLACED = (
    (rf'\b{RENAMED[0]}\b', RENAMED[1]),
    (r'\boptions/(?:ablation/)?(train|test)_(MemNet|MemoryNet)', r'options/\1/\2/\1_\2'),
    (r'\bpython -m memnet_basicsr\.(train|test)\b', r'python basicsr/\1.py'),
    (r'\bRESULTS\.md\b', 'the RESULTS.md of memnet_basicsr'),
    (r'(@\w+_REGISTRY)\.register\(\)', r"\1.register(suffix='basicsr')"),
)

STAYS = """\
stays in the plug-in:
  samples seeded by (seed, epoch, position), with which a resumed run sees the same data   data/sampling.py, launch.py
  checks of option files, errors in one line                                               option_file.py, launch.py,
                                                                                           engine/options.py
  resuming on CPUs and from the newest state that can be read, torchrun without GPUs       compat.py
  Restorer, memnet-restore, weights with a description (safetensors), ONNX                 inference/
  drawings and measurements of networks and runs, mmengine's registry                      analysis/, mmengine.py
what moves needs Python 3.10 and torch 2.3"""

# modules of BasicSR's requirements whose name is another
MODULES = {'opencv-python': 'cv2', 'pillow': 'PIL', 'pyyaml': 'yaml', 'scikit-image': 'skimage'}


class Refused(Exception):
    """It cannot be done; the text says why in one line."""


# ---- which files ----------------------------------------------------------------------------------------------------


def module_file(module):
    """Path of one of our modules (or of its package) relative to ROOT, None where there is none."""
    stem = Path(*module.split('.'))
    return next((v for v in (stem.with_suffix('.py'), stem / '__init__.py') if (ROOT / v).is_file()), None)


def module_name(path):
    """Dotted name of a file; that of a package ends with __init__."""
    return '.'.join(path.with_suffix('').parts)


def upstream_name(module):
    """BasicSR's name for one of our modules: memnet_basicsr.engine.step -> basicsr.utils.engine.step."""
    _, place, *rest = module.split('.')
    return '.'.join(['basicsr', PLACES[place], *rest])


@functools.lru_cache(maxsize=None)
def imports(path):
    """What a file imports: a list of (ast node, absolute module, names taken from it)."""
    parts, found = module_name(path).split('.'), []
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found += [(node, alias.name, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = parts[:-node.level] if node.level else []
            module = '.'.join(base + [node.module] * bool(node.module))
            found.append((node, module, [alias.name for alias in node.names]))
    return found


def provider(module, name):
    """File that gives a name of one of our modules; through a package's __init__ it is the file behind it."""
    path = module_file(f'{module}.{name}') or module_file(module)
    if path and path.name == '__init__.py':
        for node, source, names in imports(path):
            if isinstance(node, ast.ImportFrom) and node.level and name in names:
                return provider(source, name)
    return path


def dependencies(path, known):
    """Files of ours (also below tests) that a file imports.

    Raises:
        Refused: It imports what BasicSR does not require, or what stays in the plug-in.
    """
    found = []
    for _, module, names in imports(path):
        top = module.split('.')[0]
        if top not in (OURS, 'tests', *known):
            raise Refused(f'{path} imports {top}, which BasicSR does not require')
        for name in (names or [None]) if top in (OURS, 'tests') else []:
            source = provider(module, name) if name else module_file(module)
            if source and top == 'tests':
                found += [v for v in (source, source.parent / '__init__.py') if (ROOT / v).is_file()]
            elif source and source.name != '__init__.py':
                if source.with_suffix('').parts[1] not in PLACES:
                    raise Refused(f'{path} imports {module_name(source)}, which stays in the plug-in')
                found.append(source)
    return found


def closure(paths, known, room):
    """Files with all that they import; followed below one folder."""
    todo, found = list(paths), set()
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += dependencies(path, known) if path.parts[0] == room else []
    return found


def files_by_name():
    """Registered names and scripts -> their files: tests name them in strings."""
    found = {v.stem: v.relative_to(ROOT) for v in (ROOT / 'scripts' / 'data_preparation').glob('*.py')}
    for path in (ROOT / OURS).rglob('*.py'):
        text = path.read_text(encoding='utf-8')
        names = re.findall(r'^@\w+_REGISTRY\.register\(\)\n(?:class|def) (\w+)', text, flags=re.MULTILINE)
        found.update(dict.fromkeys(names, path.relative_to(ROOT)))
    return found


def strings(path):
    """String constants of a file."""
    nodes = ast.walk(ast.parse((ROOT / path).read_text(encoding='utf-8')))
    return {v.value for v in nodes if isinstance(v, ast.Constant) and isinstance(v.value, str)}


def lacks_fixtures(test):
    """Whether a test takes fixtures from a conftest.py that does not move."""
    folders = ['tests'] if test.parent.name in FIXTURES else ['tests', test.parent]
    conftests = [v for v in (ROOT / folder / 'conftest.py' for folder in folders) if v.is_file()]
    absent = {name for v in conftests for name in fixtures(v.read_text(encoding='utf-8'))}
    text = (ROOT / test).read_text(encoding='utf-8')
    own = fixtures(text).union(*(v.split(', ') for v in re.findall(r"parametrize\(\s*'([^']*)'", text)))
    functions = [v for v in ast.parse(text).body if isinstance(v, ast.FunctionDef)]
    taken = {arg.arg for v in functions if v.name.startswith('test_') or v.name in own for arg in v.args.args}
    return bool(taken & absent - own)


def fixtures(text):
    """Names of the fixtures that a file defines."""
    return set(re.findall(r'^@pytest\.fixture\b.*\n(?:@.*\n)*def (\w+)', text, flags=re.MULTILINE))


def moving_files(tree, names, known):
    """Our files that move with the networks.

    Args:
        tree (Path): Where to.
        names (list[str]): Networks.
        known (set[str]): Modules that they may import.

    Returns:
        list[Path]: Relative to ROOT.
    """
    networks = [NETWORKS[v] for v in names]
    package = {Path(OURS, f'{v}.py') for network in networks for v in network['package']}
    scripts = {Path('scripts', 'data_preparation', f'{v}.py') for network in networks for v in network['scripts']}
    found = closure(scripts, known, 'scripts')
    found |= closure(package | {v for v in found if v.parts[0] == OURS}, known, OURS)

    by_name, tests = files_by_name(), set()
    for test in (Path('tests', f'{v}.py') for v in TESTS):
        used = closure({test} | {test.parent / 'conftest.py'} if test.parent.name in FIXTURES else {test}, known,
                       'tests')
        own = {v for v in used if v.parts[0] == 'tests'}
        used |= {by_name[v] for path in own for v in strings(path) & by_name.keys()}
        if all(v in found or (tree / target(v)).is_file() for v in used - own) and not lacks_fixtures(test):
            tests |= own
    text = ''.join((ROOT / v).read_text(encoding='utf-8') for v in tests)
    found |= tests | {v.relative_to(ROOT) for v in (ROOT / 'tests' / 'data').iterdir() if v.name in text}
    for title in (v['title'] for v in networks):
        options = (ROOT / 'options').rglob(f't*_{title}_*.yml')
        found |= {v.relative_to(ROOT) for v in options if not v.stem.endswith(NO_OPTIONS)}
    return sorted(found)


def allowed_modules(tree):
    """Modules that a moved file may import: Python's, BasicSR's, those that BasicSR requires, pytest."""
    lines = (tree / 'requirements.txt').read_text(encoding='utf-8').split()
    packages = {re.split(r'[<>=!~;\[]', v)[0].lower() for v in lines}
    return {MODULES.get(v, v) for v in packages} | set(sys.stdlib_module_names) | {'basicsr', 'pytest'}


# ---- what becomes of them -------------------------------------------------------------------------------------------


def target(path):
    """Where a file of ours goes."""
    if path.parts[0] == OURS:
        return Path(*upstream_name(module_name(path)).split('.')).with_suffix('.py')
    if path.parts[0] == 'options':
        phase, network = path.stem.split('_')[:2]
        return Path('options', phase, network, path.name)
    return path.with_name(path.name.replace(*RENAMED))


def rewritten(path, moved):
    """Text of a file as BasicSR gets it, its imports not yet in order."""
    text = (ROOT / path).read_text(encoding='utf-8')
    if path.parts[0] == OURS:
        text = with_relative_imports(text, path)
    text = re.sub(rf'^import {OURS}\b.*\n', '', text, flags=re.MULTILINE)
    for pattern, new in REPLACED:
        text = re.sub(pattern, new, text)
    text = re.sub(rf'\b{OURS}/(\w+)', lambda v: f'basicsr/{PLACES[v[1]].replace(".", "/")}'
                  if v[1] in PLACES else v[0], text)  # yapf: disable
    return re.sub(rf'\b{OURS}(\.\w+)+', lambda v: renamed(v[0], moved), text)


def renamed(name, moved):
    """BasicSR's name for a dotted name of ours; unchanged where its module stays in the plug-in."""
    parts = name.split('.')
    module = next((m for m in ('.'.join(parts[:k]) for k in range(len(parts), 1, -1)) if module_file(m)), None)
    if module is None or parts[1] not in PLACES:
        return name
    is_package = module_file(module).name == '__init__.py'
    return upstream_name(module) + name[len(module):] if is_package or module in moved else name


def with_relative_imports(text, path):
    """The text with its relative imports pointing to the new places."""
    lines = text.splitlines(keepends=True)
    here = upstream_name(module_name(path)).split('.')
    for node, module, _ in imports(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            there = upstream_name(module).split('.')
            common = 0  # folders that both names begin with
            while common < len(here) - 1 and here[common:common + 1] == there[common:common + 1]:
                common += 1
            new = '.' * (len(here) - common) + '.'.join(there[common:])
            line = lines[node.lineno - 1]
            lines[node.lineno - 1] = re.sub(r'\bfrom \S+ import', f'from {new} import', line, count=1)
    return ''.join(lines)


def with_exports(text, folder, moving):
    """An __init__ of BasicSR (or nothing) that exports also what our __init__ exports of the files that move."""
    path = Path(OURS, folder, '__init__.py')
    lines, names = [], []
    for node, _, taken in imports(path):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module:
            taken = [v for v in taken if provider(f'{OURS}.{folder}', v) in moving and not exported(text, v)]
            if any(taken):
                lines.append(f'from .{node.module} import {", ".join(taken)}\n')
                names += taken
    if not names:
        return text
    old = text.splitlines(keepends=True)
    nodes = ast.parse(text).body
    after = max((v.end_lineno for v in nodes if isinstance(v, (ast.Import, ast.ImportFrom))), default=0)
    before = next((v for v in nodes if isinstance(v, ast.Assign) and ast.unparse(v.targets[0]) == '__all__'), None)
    names = (ast.literal_eval(before.value) if before else []) + sorted(names)
    listed = ', '.join(f"'{v}'" for v in names)
    if len(listed) > 120 - len('__all__ = []'):
        listed = '\n' + textwrap.fill(listed, 120, initial_indent=' ' * 4, subsequent_indent=' ' * 4) + '\n'
    start, end = (before.lineno - 1, before.end_lineno) if before else (len(old), len(old))
    return ''.join([*old[:after], *lines, *(old[after:start] or '\n'), f'__all__ = [{listed}]\n', *old[end:]])


def exported(text, name):
    """Whether an __init__ exports a name already."""
    return any(name in [a.name for a in v.names] for v in ast.parse(text).body if isinstance(v, ast.ImportFrom))


def new_files(tree, names):
    """Everything that the tree is to get.

    Args:
        tree (Path): BasicSR.
        names (list[str]): Networks.

    Returns:
        tuple[dict[Path, bytes], set[Path]]: Content by path, and which of these are amended files of BasicSR.
    """
    try:
        import isort
    except ImportError:
        raise Refused('isort is missing, which puts imports in order: pip install isort') from None
    # isort takes `tests` for a package of the tree when it runs there
    config = isort.Config(settings_file=str(tree / 'setup.cfg'), known_first_party=('basicsr', 'tests'))
    moving = moving_files(tree, names, allowed_modules(tree))
    package = [v.relative_to(ROOT) for v in (ROOT / OURS).rglob('*.py')]
    package = [v for v in package if v.with_suffix('').parts[1] in PLACES]
    moved = {module_name(v) for v in package if v in moving or (tree / target(v)).is_file()}
    files = {}
    for path in moving:
        if path.suffix == '.npz':
            files[target(path)] = (ROOT / path).read_bytes()
            continue
        text = rewritten(path, moved)
        files[target(path)] = (isort.code(text, config=config) if path.suffix == '.py' else text).encode()
    amended = set()
    for folder in sorted({v.parts[1] for v in moving if v.parts[0] == OURS and len(v.parts) == 3}):
        path = Path('basicsr', *PLACES[folder].split('.'), '__init__.py')
        there = (tree / path).is_file()
        before = (tree / path).read_text(encoding='utf-8') if there else ''
        text = with_exports(before, folder, moving)
        if text != before or not there:
            files[path] = isort.code(text, config=config).encode()
            amended |= {path} & {path if there else None}
    return files, amended


# ---- the tree -------------------------------------------------------------------------------------------------------


def check_tree(tree):
    """Refuse what is not BasicSR, and a checkout with changes."""
    for name in ('basicsr/train.py', 'basicsr/utils/registry.py', 'basicsr/metrics/__init__.py', 'setup.cfg',
                 'requirements.txt'):  # yapf: disable
        if not (tree / name).is_file():
            raise Refused(f'{tree} is not a tree of BasicSR: it has no {name}')
    if is_checkout(tree):
        changes = git(tree, 'status', '--porcelain').splitlines()
        if changes:
            raise Refused(f'{tree} has changes that are not committed ({changes[0][3:]}, {len(changes)} in all): '
                          'commit or stash them')


def is_checkout(tree):
    return (tree / '.git').exists()


def git(tree, *args):
    """Output of a git command.

    Raises:
        Refused: With the line in which git says why.
    """
    try:
        done = subprocess.run(['git', '-C', str(tree), *args], capture_output=True, text=True)
    except FileNotFoundError:
        raise Refused('git is missing, and the tree is a git checkout') from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip() or 'no reason given').splitlines()
        reason = next((v for v in said if v.startswith(('fatal: ', 'error: '))), said[-1])
        raise Refused(f'git {args[0]} failed in {tree}: {reason}')
    return done.stdout


def write(tree, files):
    """Write files, all of them or none."""
    parts, folders = [], []
    try:
        for path, content in files.items():
            folders += [v for v in (tree / path).parents if not v.exists()]
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            part = tree / f'{path}.part'
            part.write_bytes(content)
            parts.append(part)
    except BaseException as error:
        for part in parts:
            part.unlink(missing_ok=True)
        for folder in sorted(set(folders), reverse=True):
            if folder.is_dir():
                folder.rmdir()
        if isinstance(error, OSError):
            raise Refused(f'cannot write {tree / path}: {error.strerror}; nothing was changed') from None
        raise
    for part in parts:
        part.replace(part.with_suffix(''))


def commit(tree, files, branch, message):
    """One commit on a new branch, made aside and checked out at the end."""
    with tempfile.TemporaryDirectory() as folder:
        aside = Path(folder, 'basicsr')
        git(tree, 'worktree', 'add', '--quiet', '-b', branch, str(aside), 'HEAD')
        try:
            write(aside, files)
            git(aside, 'add', '--force', '--', *map(str, files))
            git(aside, 'commit', '--quiet', '-m', message)
            git(tree, 'worktree', 'remove', '--force', str(aside))
            git(tree, 'checkout', '--quiet', branch)
        except BaseException:
            if aside.exists():
                git(tree, 'worktree', 'remove', '--force', str(aside))
            git(tree, 'branch', '--quiet', '-D', branch)
            raise


def contribute(tree, names, dry_run=False, force=False):
    """Put networks into a tree.

    Args:
        tree (Path): Checkout or unpacked source archive of BasicSR.
        names (list[str]): 'memnet', 'memorynet'.
        dry_run (bool): Only say what would be done. Default: False.
        force (bool): Overwrite files that are there with another content. Default: False.

    Raises:
        Refused: It cannot be done; nothing was changed.
    """
    check_tree(tree)
    files, amended = new_files(tree, names)
    kinds = {}
    for path, content in sorted(files.items()):
        there = (tree / path).read_bytes() if (tree / path).is_file() else None
        kinds[path] = ('new' if there is None else 'same' if there == content else
                       'amended' if path in amended else 'replaced')  # yapf: disable
    clashes = [path for path, kind in kinds.items() if kind == 'replaced']
    if clashes and not force:
        raise Refused(f'{tree / clashes[0]} is there already with another content ({len(clashes)} such files): '
                      'move them away or say --force')
    branch = '_'.join(names)
    if is_checkout(tree) and git(tree, 'branch', '--list', branch):
        raise Refused(f'{tree} has a branch {branch} already: delete or rename it')

    for path, kind in kinds.items():
        print(f'{kind:9}{path}')
    for path in (Path('tests', f'{v}.py') for v in TESTS):
        if target(path) not in files:
            print(f'{"stays":9}{path}')
    print(STAYS)
    changed = {path: files[path] for path, kind in kinds.items() if kind != 'same'}
    if dry_run or not changed:
        print('nothing was changed' if changed else f'{tree} has all of this already')
        return
    if not is_checkout(tree):
        write(tree, changed)
        print(f'wrote {len(changed)} files to {tree}')
        return
    titles = ' and '.join(NETWORKS[v]['title'] for v in names)
    commit(tree, changed, branch, f'add {titles} with losses, data sets, models, options and tests\n\n'
           'Python 3.10 and torch 2.3 are needed; BasicSR requires nothing new.')  # yapf: disable
    print(f'wrote {len(changed)} files: one commit on the new branch {branch} of {tree}')


def main(args=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--basicsr', type=Path, required=True, help='checkout or unpacked source archive of BasicSR')
    parser.add_argument('--only', choices=list(NETWORKS), help='one network. Default: both')
    parser.add_argument('--dry-run', action='store_true', help='print what would be done')
    parser.add_argument('--force', action='store_true', help='overwrite files that are there with another content')
    args = parser.parse_args(args)
    contribute(args.basicsr, [args.only] if args.only else list(NETWORKS), args.dry_run, args.force)


if __name__ == '__main__':
    try:
        main()
    except Refused as refused:
        sys.exit(f'error: {refused}')
