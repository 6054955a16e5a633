"""docs/options.md and the JSON Schema are those of the code, and an editor's validator agrees with the check."""
import copy
import json
import jsonschema
import pytest
import re
import subprocess
import sys
import yaml
from pathlib import Path

from basicsr.models import build_model
from basicsr.utils import registry
from memnet_basicsr.errors import UsageError
from memnet_basicsr.plugin.reference import argument_texts
from tests.test_engine.tiny_runs import batch, model_options
from tests.test_plugin.test_option_files import OPTION_FILES
from tests.test_plugin.wrong_files import BASE

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / 'memnet_basicsr' / 'options.schema.json'


@pytest.fixture(scope='module')
def validator():
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)


def test_generated_files_are_current(tmp_path):
    """In a process of its own: other tests register classes."""
    code = ('from memnet_basicsr.plugin.command import main\n'
            'main(["options", "docs", "-o", "options.md"])\nmain(["options", "schema"])\n')  # yapf: disable
    subprocess.run([sys.executable, '-c', code], cwd=tmp_path, check=True, capture_output=True)
    hint = 'run `memnet options docs` and `memnet options schema -o memnet_basicsr/options.schema.json`'
    assert (tmp_path / 'options.md').read_text() == (ROOT / 'docs' / 'options.md').read_text(), hint
    assert (tmp_path / 'options.schema.json').read_text() == SCHEMA.read_text(), hint


@pytest.mark.parametrize('path', OPTION_FILES, ids=lambda v: v.stem)
def test_option_files_name_the_schema_and_follow_it(path, validator):
    first = path.read_text().splitlines()[0]
    prefix = '# yaml-language-server: $schema='
    assert first.startswith(prefix) and (path.parent / first.removeprefix(prefix)).resolve() == SCHEMA
    assert [v.message for v in validator.iter_errors(yaml.safe_load(path.read_text()))] == []


@pytest.mark.parametrize('place, value', [
    ('train/tile', 64),
    ('val/ema_decay', 0.9),
    ('train/ema_decay', 1),
    ('train/precision', 'half'),
    ('datasets/train/sigma', 'x'),
    ('datasets/train/sgma', 5),
    ('datasets/val/gt_size', 5),
    ('datasets/vall', {}),
    ('network_g/num_feats', 4),
    ('network_g/num_feat', 'x'),
    ('train/pixel_opt/weight', 1),
    ('train/optim_g/lr', 0),
    ('train/scheduler/periods', 'x'),
    ('val/metrics/psnr/better', 'more'),
    ('logger/print_freq', 0),
    ('path/strict', 1),
    ('sclae', 1),
])  # yapf: disable
def test_editor_marks_what_the_check_refuses(validator, place, value):
    assert list(validator.iter_errors(BASE)) == []
    opt = copy.deepcopy(BASE)
    *blocks, key = place.split('/')
    block = opt
    for name in blocks:
        block = block[name]
    block[key] = value
    assert list(validator.iter_errors(opt))


def test_example_of_own_options(tmp_path, monkeypatch):
    """The class in docs/options.md is registered, is checked, and trains."""
    known = registry.MODEL_REGISTRY
    monkeypatch.setattr(known, '_obj_map', dict(known._obj_map))
    code, = re.findall(r'```python\n(.*?)```', (ROOT / 'docs' / 'options.md').read_text(), re.DOTALL)
    exec(code, {'__name__': 'my_module'})
    opt = model_options(tmp_path, model_type='MyModel', train__tv_weight=0.5)
    model = build_model(opt)
    model.feed_data(batch())
    model.optimize_parameters(1)
    log, output = model.get_current_log(), model.output[0].detach()
    expected = 0.5 * (output[..., 1:] - output[..., :-1]).abs().mean().item()
    assert log['l_tv'] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UsageError, match=r'^train: tv_weight: -1 is not a number >= 0'):
        build_model(model_options(tmp_path, model_type='MyModel', train__tv_weight=-1))


def test_options_are_explained(validator):
    """Every option that is ours has a line of documentation, which an editor shows."""
    defs = validator.schema['$defs']
    for name in ('train_NoisyImageDataset', 'val_PairedMaskedDataset', 'network_MemNet', 'loss_EdgeLoss',
                 'TrueCosineOptions', 'OptimizerOptions'):
        silent = [k for k, v in defs[name]['properties'].items() if k != 'type' and not v.get('description')]
        assert silent == [], name


def test_argument_texts():

    def function(size, name='a'):
        """Do it.

        Args:
            size (int): Side of the patch,
                in pixels. More of it.
            name (list[str] | None): See :meth:`read` of ``a``. Default: 'a'.
        """

    assert argument_texts(function) == {'size': ('integer', 'Side of the patch, in pixels.'),
                                        'name': ('list of strings', 'See `read` of `a`.')}  # yapf: disable


def test_pages_hold_no_markup_of_python():
    """Types as a user says them, no roles of Sphinx and no Python names for values."""
    for text in ((ROOT / 'docs' / 'options.md').read_text().split('```')[2], SCHEMA.read_text()):
        assert re.findall(r':\w+:`|``|Args:|\bkwargs\b|\| (?:int|float|str|bool|dict) \|', text) == []
