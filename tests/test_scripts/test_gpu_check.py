import os
import pytest
import sys
import torch
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / 'scripts' / 'gpu_check.sh'


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu_it_stops_with_one_line(run_command, tmp_path):
    report = tmp_path / 'report.txt'
    result = run_command('sh', SCRIPT, report, cwd=tmp_path, PYTHON=sys.executable)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith('gpu_check: torch sees no GPU')
    assert not report.exists() and os.access(SCRIPT, os.X_OK)
