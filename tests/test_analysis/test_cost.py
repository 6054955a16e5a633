import json
import pytest
import time
import torch
from torch import nn as nn

from memnet_basicsr.analysis.cost import num_parameters, seconds_per_picture
from memnet_basicsr.analysis.runs import Run, read_run
from memnet_basicsr.archs.memnet_arch import MemNet
from memnet_basicsr.errors import UsageError

OPTIONS = {'name': 'small', 'network_g': {'type': 'MemNet', 'num_feat': 4}}
RECORDS = [{'iter': 10, 'dataset': 'a', 'psnr': 20.}, {'iter': 20, 'dataset': 'a', 'psnr': 21., 'ssim': .9}]


@pytest.fixture
def make_run(tmp_path):
    """Write the folder of a run as trainings leave it; returns its path."""

    def make(records=RECORDS, text=None, options=OPTIONS):
        folder = tmp_path / 'experiments' / 'small'
        (folder / 'models').mkdir(parents=True)
        (folder / 'small.yml').write_text(json.dumps(options))
        for name in ('net_g_10', 'net_g_latest'):
            (folder / 'models' / f'{name}.pth').touch()
        text = ''.join(f'{json.dumps(v)}\n' for v in records) if text is None else text
        (folder / 'metrics.jsonl').write_text(text)
        return folder

    return make


def test_figure_of_a_run_by_folder_checkpoint_and_option_file(make_run, tmp_path):
    folder = make_run()
    last = Run('small', OPTIONS['network_g'], 'a', 20, 21.)
    assert read_run(str(folder)) == last
    assert read_run(f'{folder}/') == last
    assert read_run(str(folder / 'models' / 'net_g_latest.pth')) == last
    assert read_run(str(folder / 'models' / 'net_g_10.pth')) == Run('small', OPTIONS['network_g'], 'a', 10, 20.)
    other = tmp_path / 'elsewhere.yml'
    other.write_text(json.dumps(OPTIONS))
    assert read_run(str(other), str(tmp_path / 'experiments')) == last
    assert read_run(str(folder), metric='ssim').value == .9


def test_own_option_file_among_several(make_run):
    folder = make_run()
    (folder / 'resumed.yml').write_text('name: resumed')
    assert read_run(str(folder)).name == 'small'
    (folder / 'small.yml').unlink()
    (folder / 'third.yml').write_text('name: third')
    with pytest.raises(UsageError, match='2 option files'):
        read_run(str(folder))


def test_data_sets_are_told_apart(make_run):
    folder = str(make_run([*RECORDS, {'iter': 20, 'dataset': 'b', 'psnr': 30.}]))
    assert read_run(folder, dataset='b').value == 30
    with pytest.raises(UsageError, match='several data sets, name one of a, b'):
        read_run(folder)
    with pytest.raises(UsageError, match='holds no psnr of c'):
        read_run(folder, dataset='c')


@pytest.mark.parametrize('text, words', [('', 'holds no psnr of any data set'),
                                         ('{"iter": 1, "dataset": "a", "psnr": null}\n', 'holds no psnr'),
                                         ('{"iter": 1, "data', 'line 1'), ('{"iter": 1}\n', 'line 1'),
                                         ('7\n', 'line 1')])
def test_damaged_records(make_run, text, words):
    with pytest.raises(UsageError, match=words) as error:
        read_run(str(make_run(text=text)))
    assert '\n' not in str(error.value)


def test_missing_parts(make_run, tmp_path):
    with pytest.raises(UsageError, match='0 option files'):
        read_run(str(tmp_path / 'nowhere'))
    with pytest.raises(UsageError, match=r'none\.pth does not exist'):
        read_run(str(tmp_path / 'none.pth'))
    folder = make_run(options={'name': 'small'})
    with pytest.raises(UsageError, match='no network_g'):
        read_run(str(folder))
    (folder / 'small.yml').write_text(json.dumps(OPTIONS))
    (folder / 'metrics.jsonl').unlink()
    with pytest.raises(UsageError, match='no validation'):
        read_run(str(folder))


def test_parameters():
    assert num_parameters(MemNet()) == 695497  # published size of M6R6, multi-supervised
    shared = nn.Linear(3, 2)
    assert num_parameters(nn.Sequential(shared, nn.BatchNorm1d(2), shared)) == 8 + 4


def test_seconds_are_measured_in_turns(monkeypatch):
    clock, calls = [0.], []
    monkeypatch.setattr(time, 'perf_counter', lambda: clock[0])

    class Waiting(nn.Module):
        """Takes so many seconds of a clock that the test holds, call by call."""

        def __init__(self, name, seconds):
            super().__init__()
            self.name, self.seconds = name, seconds

        def forward(self, x):
            calls.append((self.name, self.training, torch.is_grad_enabled()))
            clock[0] += self.seconds.pop(0)
            return x

    nets = [Waiting('a', [9., 3., 1., 2.]), Waiting('b', [9., 5., 5., 4.])]
    assert seconds_per_picture(nets, [torch.rand(1, 1, 4, 4)] * 2, repeats=3) == [[1, 2, 3], [4, 5, 5]]
    assert calls == [('a', False, False), ('b', False, False)] * 4  # the first round does not count


def test_networks_are_measured_in_their_form_for_inference():
    net = MemNet(num_feat=4, num_block=2, num_recursion=1).train()
    seen = []
    handle = net.fenet.register_forward_pre_hook(lambda *args: seen.append(args))
    seconds, = seconds_per_picture([net], [torch.rand(1, 1, 8, 9)], repeats=2)
    assert len(seconds) == 2 and not seen and net.training
    handle.remove()
