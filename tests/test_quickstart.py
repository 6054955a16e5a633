"""docs/quickstart.ipynb, executed with a tiny run."""
import os
import pytest
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_notebook(tmp_path, monkeypatch):
    nbformat, nbclient = pytest.importorskip('nbformat'), pytest.importorskip('nbclient')
    pytest.importorskip('ipykernel')
    monkeypatch.setenv('PATH', f'{Path(sys.executable).parent}:{os.environ["PATH"]}')
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '')
    notebook = nbformat.read(ROOT / 'docs' / 'quickstart.ipynb', as_version=4)
    assert not any(v.get('outputs') for v in notebook.cells)
    install, = [v for v in notebook.cells if '%pip install' in v.source]
    notebook.cells.remove(install)
    tiny = {'ITERATIONS': 3, 'SIDE': 72}
    for name, value in tiny.items():
        cell, = [v for v in notebook.cells if re.search(f'^{name} = ', v.source, re.MULTILINE)]
        cell.source = re.sub(f'^{name} = .*', f'{name} = {value}', cell.source, flags=re.MULTILINE)
    nbclient.NotebookClient(notebook, timeout=600, resources={'metadata': {'path': str(tmp_path)}}).execute()
    shown = [v for cell in notebook.cells for v in cell.get('outputs', []) if 'image/png' in v.get('data', {})]
    assert len(shown) == 2
    result, = [v for v in notebook.cells[-1].outputs if v.output_type == 'execute_result']
    assert "'difference': " in result.data['text/plain']
    assert (tmp_path / 'my_denoiser.onnx').stat().st_size > 10_000
    assert (tmp_path / 'experiments' / 'my_denoiser' / 'models' / 'net_g_latest.pth').is_file()
