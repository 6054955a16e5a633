import subprocess
import sys
import torch
from mmengine.config import Config
from mmengine.registry import MODELS
from mmengine.utils import import_modules_from_strings


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
