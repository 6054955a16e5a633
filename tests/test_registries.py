"""What is usually forgotten when something is added: to import it, to describe it, an option file, a test."""
import ast
import inspect
import math
import pytest
import re
import torch
import yaml
from pathlib import Path

import memnet_basicsr  # noqa: F401  (BasicSR imports only behind it)
from basicsr.losses import build_loss
from basicsr.utils import registry

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'memnet_basicsr'
ENDINGS = {'archs': '_arch.py', 'data': '_dataset.py', 'losses': '_loss.py', 'models': '_model.py'}

# offered beside those that our option files use; each says in its docstring when it is wanted
NOT_IN_OUR_RECIPES = {
    'calculate_masked_psnr': 'the inflated figure of the shadow literature, for comparisons with its tables',
    'calculate_masked_ssim': 'as calculate_masked_psnr',
    'calculate_region_ssim': 'the SSIM beside calculate_region_psnr',
}


def registered():
    """Name -> class or function of this package, over all registries of BasicSR."""
    return {
        name: found
        for key, known in vars(registry).items() if key.endswith('_REGISTRY') for name, found in known
        if found.__module__.split('.')[0] == 'memnet_basicsr'
    }


def marked(folder):
    """(file, name) of what a decorator registers in BasicSR, read from the files below a folder."""
    found = []
    for path in sorted(folder.rglob('*.py')):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            marks = [ast.unparse(v) for v in getattr(node, 'decorator_list', ())]
            if any(re.match(r'(ARCH|DATASET|LOSS|METRIC|MODEL)_REGISTRY\.register', v) for v in marks):
                found.append((str(path.relative_to(folder)), node.name))
    return found


def forgotten_imports(folder, known):
    """What nobody imports: a file whose name BasicSR's way of scanning does not find, a metric not in __init__.py."""
    faults = [f'{path}: {name} is not registered: import it (archs, losses, data, models: by the file name *'
              f'{ENDINGS.get(Path(path).parts[0], "")}; metrics: in metrics/__init__.py)'
              for path, name in marked(folder) if name not in known]  # yapf: disable
    names = {path for path, _ in marked(folder)}
    for room, ending in ENDINGS.items():
        for path in (folder / room).glob(f'*{ending}'):
            if str(path.relative_to(folder)) not in names:
                faults.append(f'{path.relative_to(folder)}: nothing in it has a decorator @..._REGISTRY.register()')
    return faults


def faults(name, found, option_texts, test_texts):
    """What a registered class or function lacks."""
    doc = inspect.getdoc(found) if found.__doc__ else ''
    lacks = [] if doc else ['a docstring']
    parameters = inspect.signature(found).parameters.values()
    for parameter in parameters:
        if doc and parameter.kind is not parameter.VAR_KEYWORD and not re.search(rf'(?m)^ +{parameter.name} \(', doc):
            lacks.append(f'a line on {parameter.name} below Args')
        if isinstance(parameter.default, (list, dict, set)):
            lacks.append(f'a default for {parameter.name} that is not mutable')
    if not any(re.search(rf'type: {name}\b', v) for v in option_texts) and name not in NOT_IN_OUR_RECIPES:
        lacks.append('an option file in options/ that names it')
    if not any(re.search(rf'\b{name}\b', v) for v in test_texts):
        lacks.append('a test')
    return lacks


@pytest.fixture(scope='module')
def option_texts():
    return [v.read_text(encoding='utf-8') for v in (ROOT / 'options').rglob('*.yml')]


@pytest.fixture(scope='module')
def test_texts():
    return [v.read_text(encoding='utf-8') for v in (ROOT / 'tests').rglob('test_*.py') if v.name != Path(__file__).name]


def test_everything_is_imported():
    assert forgotten_imports(PACKAGE, registered()) == []
    assert len(registered()) >= 20


@pytest.mark.parametrize('name', sorted(registered()))
def test_nothing_is_forgotten(name, option_texts, test_texts):
    assert faults(name, registered()[name], option_texts, test_texts) == []


def test_readme_names_every_class():
    readme = (ROOT / 'README.md').read_text(encoding='utf-8')
    classes = {k: v for k, v in registered().items() if inspect.isclass(v) and '.analysis.' not in v.__module__}
    assert [name for name in classes if f'`{name}`' not in readme] == []


def test_list_of_exceptions_is_short(option_texts):
    """Who gets an option file leaves the list; so does who is removed."""
    assert not [v for v in NOT_IN_OUR_RECIPES if v not in registered()]
    assert not [v for v in NOT_IN_OUR_RECIPES if any(re.search(rf'type: {v}\b', text) for text in option_texts)]


def test_forgotten_imports_are_found(tmp_path):
    for name, text in {
            'archs/some_net.py': '@ARCH_REGISTRY.register()\nclass SomeNet:\n    pass\n',
            'archs/other_arch.py': '@ARCH_REGISTRY.register()\nclass Other:\n    pass\n',
            'losses/bare_loss.py': 'class BareLoss:\n    pass\n',
            'metrics/sharpness.py': '@METRIC_REGISTRY.register()\ndef calculate_sharpness(img):\n    pass\n',
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    found = forgotten_imports(tmp_path, {'Other': None})
    assert [v.split(':')[0] for v in found] == ['archs/some_net.py', 'metrics/sharpness.py', 'losses/bare_loss.py']


def test_forgotten_parts_are_found():

    class Bare:

        def __init__(self, num_feat=[1]):  # noqa: B006
            pass

    class Described:
        """One line.

        Args:
            num_feat (int): Channels. Default: 64.
            opt (dict): Options.
        """

        def __init__(self, opt, num_feat=64, num_block=6, **kwargs):
            pass

    assert faults('Bare', Bare, [], []) == ['a docstring', 'a default for num_feat that is not mutable',
                                            'an option file in options/ that names it', 'a test']  # yapf: disable
    assert faults('Described', Described, ['network_g:\n  type: Described'], ['build(Described)']) == [
        'a line on num_block below Args']  # yapf: disable
    assert 'a test' in faults('Described', Described, [], ['DescribedElsewhere'])


def test_worked_example(monkeypatch):
    """The blocks of CONTRIBUTING.md: what they define is complete and right."""
    known = registry.LOSS_REGISTRY
    monkeypatch.setattr(known, '_obj_map', {k: v for k, v in known._obj_map.items() if k != 'LogCoshLoss'})
    text = (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf-8')
    loss, test = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    options = re.findall(r'```yaml\n(.*?)```', text, re.DOTALL)
    scope = {'__name__': 'memnet_basicsr.losses.log_cosh_loss'}
    exec(loss, scope)
    assert faults('LogCoshLoss', scope['LogCoshLoss'], options, [test]) == []
    exec(test, scope)
    scope['test_value_and_gradient']()
    outputs = [torch.zeros(1, 1, 4, 4), torch.ones(1, 1, 4, 4)]
    value = build_loss(yaml.safe_load(options[0])['pixel_opt'])(outputs, torch.zeros(1, 1, 4, 4))
    assert value.item() == pytest.approx(math.log(math.cosh(1)) / 2, rel=1e-6)
