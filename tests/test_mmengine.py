import pytest
import subprocess
import sys
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.utils import import_modules_from_strings
from torch.utils.flop_counter import FlopCounterMode

from memnet_basicsr import fast


def test_networks_build_from_an_mmengine_config(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("custom_imports = dict(imports=['memnet_basicsr.mmengine'])\n"
                    "model = dict(type='MemNet', num_feat=4, num_block=2, num_recursion=1)\n")
    config = Config.fromfile(str(path))
    import_modules_from_strings(**config.custom_imports)
    net = MODELS.build(config.model).eval()
    assert net(torch.rand(1, 1, 9, 7)).shape == (1, 1, 9, 7)
    assert {'MemNet', 'MemoryNet', 'MemoryAugmented'} <= set(MODELS.module_dict)


def test_mmengine_is_not_imported_without_being_asked():
    code = 'import memnet_basicsr, sys; sys.exit("mmengine" in sys.modules)'
    assert subprocess.run([sys.executable, '-c', code]).returncode == 0


@pytest.mark.parametrize('form', [lambda net: net, fast.training], ids=['plain', 'fast'])
@pytest.mark.parametrize('training', [True, False])
def test_mmengine_counts_memnet(training, form):
    """The products of the convolutions, which torch counts too, and a few percent for the norms."""
    import memnet_basicsr.mmengine  # noqa: F401
    net = MODELS.build(dict(type='MemNet', num_feat=16, num_block=2, num_recursion=2)).train(training)
    with FlopCounterMode(display=False) as counter:
        net(torch.rand(1, 1, 16, 16))
    found = get_model_complexity_info(form(net), (1, 16, 16), show_table=False, show_arch=False)
    assert 1 < found['flops'] / (counter.get_total_flops() / 2) < 1.1
    assert found['params'] == sum(v.numel() for v in net.parameters())
