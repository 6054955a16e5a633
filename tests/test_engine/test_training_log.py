import json
import pytest

from memnet_basicsr.engine.training_log import read_curves, read_validations
from memnet_basicsr.errors import UsageError

LINE = ('2026-01-01 00:00:00,000 INFO: [run..][epoch:  0, iter:{:8,d}, lr:({:.3e},1.000e-05,)] [eta: 0:01:00, time '
        '(data): 0.013 (0.004)] l_pix: {:.4e} grad_norm: {} img_s: 1.5500e+03 \n')


def write_log(folder, name, points):
    text = 'INFO: Version [x]\n' + ''.join(LINE.format(i, 1e-3 / i, loss, norm) for i, loss, norm in points)
    (folder / name).write_text(text + 'INFO: Validation v\n\t # psnr: 20.1\n')


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    write_log(folder, 'train_run_20260101_000000.log', [(500, 0.5, '2.0e+00'), (1000, 0.4, 'inf'), (1500, 9., '1.0')])
    write_log(folder, 'train_run_20260102_000000.log', [(1500, 0.3, '1.5e+00'), (2000, 0.2, '1.0e+00')])
    lines = [dict(iter=i, dataset=d, psnr=20 + i / 1000, ssim=None) for i in (1000, 2000) for d in ('a', 'b')]
    (folder / 'metrics.jsonl').write_text(''.join(json.dumps(v) + '\n' for v in lines))
    return folder


def test_reading(run):
    curves = read_curves(str(run))
    assert list(curves) == ['lr', 'l_pix', 'grad_norm', 'img_s']
    assert curves['l_pix'] == [(500, 0.5), (1000, 0.4), (1500, 0.3), (2000, 0.2)]  # of the resumed log
    assert curves['grad_norm'][1] == (1000, float('inf'))
    assert curves['lr'] == [(500, 2e-6), (1000, 1e-6), (1500, 6.667e-7), (2000, 5e-7)]
    assert read_validations(str(run)) == {'psnr': {'a': [(1000, 21.), (2000, 22.)], 'b': [(1000, 21.), (2000, 22.)]}}


def test_later_log_replaces_repeated_iterations(run):
    write_log(run, 'train_run_20260103_000000.log', [(1000, 0.7, '1')])
    assert read_curves(str(run))['l_pix'] == [(500, 0.5), (1000, 0.7)]


def test_no_log(tmp_path):
    with pytest.raises(UsageError, match=f'{tmp_path} has no train_'):
        read_curves(str(tmp_path))
    assert read_validations(str(tmp_path)) == {}
