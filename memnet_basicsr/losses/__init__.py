import importlib
from os import path as osp

from basicsr.utils import scandir

# import every *_loss.py of this folder, so that its classes are registered
_folder = osp.dirname(osp.abspath(__file__))
for _name in sorted(osp.splitext(v)[0] for v in scandir(_folder) if v.endswith('_loss.py')):
    importlib.import_module(f'.{_name}', __package__)
