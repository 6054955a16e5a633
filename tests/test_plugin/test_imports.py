"""Classes of a user, named by `imports:` in an option file; and what BasicSR's own models need."""
import pytest
import sys
import yaml

from basicsr.utils import registry
from memnet_basicsr.errors import UsageError
from memnet_basicsr.plugin.command import main
from memnet_basicsr.plugin.option_file import import_modules, read_option_file
from tests.test_plugin.wrong_files import BASE

NETWORK = '''
from torch import nn
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY

@ARCH_REGISTRY.register()
class {0}Net(nn.Sequential):
    def __init__(self, num_feat=4):
        super().__init__(nn.Conv2d(1, num_feat, 3, padding=1), nn.Conv2d(num_feat, 1, 3, padding=1))

@LOSS_REGISTRY.register()
class {0}Loss(nn.L1Loss):
    pass
'''


@pytest.fixture(autouse=True)
def clean(monkeypatch, tmp_path):
    """What the modules of a test register, and where they were found, is gone after it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [*sys.path])
    before = set(sys.modules)
    for known in (registry.ARCH_REGISTRY, registry.LOSS_REGISTRY):
        monkeypatch.setattr(known, '_obj_map', dict(known._obj_map))
    yield
    for name in set(sys.modules) - before:
        if name.startswith('user_'):
            del sys.modules[name]


def test_training_with_own_classes(pipeline, options, tmp_path):
    (tmp_path / 'user_package').mkdir()
    (tmp_path / 'user_package' / 'user_arch.py').write_text(NETWORK.format('Package'))
    (tmp_path / 'user_file.py').write_text(NETWORK.format('File'))
    options.update(imports=['user_package.user_arch', 'user_file.py'], network_g=dict(type='PackageNet'))
    options['train']['pixel_opt'] = dict(type='FileLoss')
    pipeline(options)
    assert list(tmp_path.glob('experiments/*/models/net_g_latest.pth'))


def test_file_beside_the_option_file(tmp_path):
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub' / 'user_beside.py').write_text(NETWORK.format('Beside'))
    (tmp_path / 'sub' / 'a.yml').write_text('imports: user_beside.py\n')
    import_modules(read_option_file('sub/a.yml'))
    assert 'BesideNet' in registry.ARCH_REGISTRY


@pytest.mark.parametrize('name, text, message', [
    ('user_no.py', None, 'user_no.py does not exist'),
    ('user_no.such', None, "user_no.such cannot be imported: ModuleNotFoundError: No module named 'user_no'"),
    ('user_bad.py', 'x = 1\n1 / 0\n', 'user_bad.py cannot be imported: ZeroDivisionError: division by zero ('),
    ('json.py', '', 'has that name already; rename the file'),
])  # yapf: disable
def test_what_cannot_be_imported(tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    (tmp_path / 'a.yml').write_text(f'name: a\nimports: [{name}]\n')
    with pytest.raises(UsageError) as error:
        import_modules(read_option_file('a.yml'))
    assert str(error.value).startswith('a.yml:2: imports: ') and message in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_unregistered_names_mention_imports(capsys, tmp_path):
    (tmp_path / 'a.yml').write_text(yaml.safe_dump({**BASE, 'network_g': {'type': 'MyNet'}}))
    assert main(['options', 'check', 'a.yml']) == 2
    line, = capsys.readouterr().err.splitlines()
    assert "'MyNet' is not registered" in line and line.endswith('; list the modules of your own classes in `imports:`')


@pytest.mark.parametrize('model, changes', [
    ('ESRGANModel', dict(optim_d={'type': 'Adam', 'lr': 0.001}, gan_opt={'type': 'GANLoss', 'gan_type': 'vanilla'})),
    ('SRModel', dict(perceptual_opt={'type': 'PerceptualLoss', 'layer_weights': {'conv5_4': 1}})),
])  # yapf: disable
def test_one_output_for_models_of_basicsr(capsys, tmp_path, model, changes):
    train = {**BASE['train'], **changes, 'scheduler': {'type': 'MultiStepLR', 'milestones': [10], 'gamma': 0.5}}
    discriminator = {'network_d': {'type': 'UNetDiscriminatorSN', 'num_in_ch': 1}} if model == 'ESRGANModel' else {}
    network = {'type': 'MemNet', 'num_in_ch': 1, 'num_feat': 4, 'num_block': 1, 'num_recursion': 1}
    for supervise, wanted in (('all', True), ('final', False)):
        opt = {**BASE, **discriminator, 'model_type': model, 'train': train,
               'network_g': {**network, 'supervise': supervise}}  # yapf: disable
        (tmp_path / 'a.yml').write_text(yaml.safe_dump(opt, sort_keys=False))
        main(['options', 'check', 'a.yml'])
        assert ('returns several in training; set supervise: final' in capsys.readouterr().err) == wanted
