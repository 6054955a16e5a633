"""Option files and scripts that are in the wheel."""
import cv2
import numpy as np
import pytest
import yaml
from pathlib import Path

from memnet_basicsr.plugin.command import main
from memnet_basicsr.plugin.shipped import find_option_file, option_files

ROOT = Path(__file__).resolve().parents[2]
MEMNET = 'import sys; from _memnet_basicsr_command import main; sys.exit(main(sys.argv[1:]))'


def test_wheel_has_them(wheel_environment, tmp_path):

    def memnet(*args):
        result = wheel_environment('-c', MEMNET, *args, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        return result.stdout

    names = [v.split()[0] for v in memnet('options', 'list').splitlines()]
    assert names == sorted(v.stem for v in (ROOT / 'options').rglob('*.yml'))
    memnet('options', 'copy', 'train_MemNet_SR_291')
    copy = tmp_path / 'train_MemNet_SR_291.yml'
    assert yaml.safe_load(copy.read_text()) == yaml.safe_load((ROOT / 'options' / copy.name).read_text())
    assert Path(copy.read_text().splitlines()[0].split('$schema=')[1]).is_file()
    for split in ('train', 'test'):
        for kind in ('input', 'target'):
            (tmp_path / 'GoPro' / split / kind).mkdir(parents=True)
            cv2.imwrite(str(tmp_path / 'GoPro' / split / kind / 'a.png'), np.zeros((16, 16, 3), np.uint8))
    assert 'test_gt.lmdb: 1 images' in memnet('prepare', 'gopro', '--input', 'GoPro', '--partial', '--crop-size', '8')


def test_copy_keeps_existing_files(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'a.yml').write_text('mine')
    assert main(['options', 'copy', 'train_MemNet_demo.yml', '-o', 'a.yml']) == 1
    assert 'a.yml already exists' in capsys.readouterr().err and (tmp_path / 'a.yml').read_text() == 'mine'
    assert main(['options', 'copy', 'train_MemNet_demo.yml', '-o', 'a.yml', '--overwrite']) == 0
    assert 'type: MemNet' in (tmp_path / 'a.yml').read_text()
    assert main(['options', 'copy', 'nothing']) == 2 and 'no option file nothing' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['train_MemNet_demo', 'train_MemNet_demo.yml', 'options/train_MemNet_demo.yml'])
def test_names(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert find_option_file(name) == option_files()['train_MemNet_demo']
    assert find_option_file(f'elsewhere/{name}') == f'elsewhere/{name}'
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text('mine')
    assert find_option_file(name) == name


def test_option_of_that_name_runs(pipeline, tmp_path, capsys):
    """Up to the data, which are not there: the check names the shipped file."""
    with pytest.raises(SystemExit):
        pipeline('train_MemNet_SR_291')
    error = capsys.readouterr().err
    assert error.startswith(f'{option_files()["train_MemNet_SR_291"]}:') and 'does not exist' in error


def test_unknown_dataset(capsys):
    assert main(['prepare', 'gopr']) == 2
    assert capsys.readouterr().err == 'memnet prepare: there is no dataset gopr; near: gopro\n'
    assert main(['prepare', 'gopro', '--input', 'nowhere']) == 1
    assert capsys.readouterr().err == 'memnet prepare gopro: folder nowhere does not exist\n'
