"""Videos through ffmpeg, and folders shared by processes of torchrun."""
import cv2
import json
import numpy as np
import pytest
import resource
import shutil
import subprocess
import sys
from pathlib import Path

from memnet_basicsr.inference.cli import main
from tests.conftest import clean_env

needs_ffmpeg = pytest.mark.skipif(not shutil.which('ffmpeg'), reason='ffmpeg is not installed')


def ffmpeg(*args):
    subprocess.run(['ffmpeg', '-v', 'error', '-y', *map(str, args)], check=True)


def probe(path):
    command = ['ffprobe', '-v', 'error', '-of', 'json', '-count_frames', '-show_streams', str(path)]
    return {v['codec_type']: v for v in json.loads(subprocess.check_output(command))['streams']}


@pytest.fixture
def clip(tmp_path):
    """12 frames, each of one color, at 30000/1001 frames per second, with sound."""
    for i in range(12):
        cv2.imwrite(str(tmp_path / f'frame{i:02}.png'), np.full((64, 98, 3), (20 * i, 128, 240 - 20 * i), np.uint8))
    path = tmp_path / 'clip.mp4'
    ffmpeg('-framerate', '30000/1001', '-i', tmp_path / 'frame%02d.png', '-f', 'lavfi', '-i', 'sine=duration=0.4',
           '-vf', 'scale=out_color_matrix=bt709:out_range=tv', '-colorspace', 'bt709', '-crf', '5', '-pix_fmt',
           'yuv420p', path)  # yapf: disable
    return path


def run(weights, *args):
    return main([*map(str, args), '--weights', weights, '--device', 'cpu'])


@needs_ffmpeg
@pytest.mark.parametrize('suffix', ['.mp4', '.mkv'])
def test_video(make_weights, clip, tmp_path, suffix, capsys):
    """The network adds 0.1: rate, number and order of frames, colors and sound stay."""
    target = tmp_path / f'out{suffix}'
    assert run(make_weights(offset=0.1), '-i', clip, '-o', target) == 0, capsys.readouterr().err
    before, after = probe(clip), probe(target)
    assert after['video']['avg_frame_rate'] == '30000/1001' and after['video']['nb_read_frames'] == '12'
    assert (after['video']['width'], after['video']['height']) == (98, 64)
    assert after['audio']['codec_name'] == before['audio']['codec_name']
    ffmpeg('-i', target, '-fps_mode', 'passthrough', tmp_path / 'out%02d.png')
    for i in range(12):
        wanted = np.clip(np.array([20 * i, 128, 240 - 20 * i]) + 25.5, 0, 255)
        color = cv2.imread(str(tmp_path / f'out{i + 1:02}.png'))[20:-20, 20:-20].mean((0, 1))
        np.testing.assert_allclose(color, wanted, atol=6)
    assert not list(tmp_path.glob('.*.part'))
    assert run(make_weights(), '-i', clip, '-o', target) == 0 and 'already exists' in capsys.readouterr().err


@needs_ffmpeg
def test_what_is_no_video(make_weights, clip, tmp_path, capsys):
    (tmp_path / 'in').mkdir()
    (tmp_path / 'in' / 'text.mp4').write_text('not a video')
    (tmp_path / 'in' / 'list.mp4').write_text(f'ffconcat version 1.0\nfile {clip}\n')
    (tmp_path / 'in' / 'short.mp4').write_bytes(clip.read_bytes()[:-2000])
    shutil.copy(clip, tmp_path / 'in' / 'whole.mp4')
    assert run(make_weights(), '-i', tmp_path / 'in', '-o', tmp_path / 'out') == 1
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == f'1 restored to {tmp_path / "out"}, 3 failed'
    assert len(err.strip().splitlines()) == 3 and err.count('cannot be read as a video') == 3
    assert [v.name for v in (tmp_path / 'out').iterdir()] == ['whole.mp4']


@needs_ffmpeg
def test_memory_does_not_grow(make_weights, tmp_path):
    """200 frames are 72 MB of pixels; fewer than 30 MB are added."""
    clip = tmp_path / 'long.mp4'
    ffmpeg('-f', 'lavfi', '-i', 'testsrc=size=400x300:rate=50:duration=4', '-preset', 'ultrafast', clip)
    weights = make_weights(offset=0.1)
    assert run(weights, '-i', clip, '-o', tmp_path / 'warm.mp4') == 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert run(weights, '-i', clip, '-o', tmp_path / 'out.mp4') == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000


def test_without_ffmpeg(make_weights, tmp_path, monkeypatch, capsys):
    (tmp_path / 'clip.mp4').write_bytes(b'x')
    monkeypatch.setenv('PATH', '')
    assert run(make_weights(), '-i', tmp_path / 'clip.mp4', '-o', tmp_path / 'out.mp4') == 1
    assert 'videos need ffprobe, which is not installed' in capsys.readouterr().err


# ---- processes of torchrun ------------------------------------------------------------------------------------------


def torchrun(tmp_path, *args):
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '3', '-m',
               'memnet_basicsr.inference.cli', '-w', 'memnet_denoise', '--device', 'cpu', *args]  # yapf: disable
    return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=clean_env())


def test_folder_is_shared(tmp_path):
    """Each result is written once, a failure does not stop the others, and a second run only does what is missing."""
    (tmp_path / 'in').mkdir()
    for i in range(7):
        img = np.random.default_rng(i).integers(0, 256, (16, 20), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / 'in' / f'{i}.png'), img)
    (tmp_path / 'in' / 'broken.png').write_bytes(b'')
    args = ['-i', 'in', '-o', 'out', '--gt', 'in']
    result = torchrun(tmp_path, *args)
    assert result.returncode != 0 and result.stderr.count('broken.png: is empty') == 1, result.stderr
    assert result.stdout.splitlines()[-1] == '7 restored to out, 1 failed'
    assert result.stdout.count(': PSNR inf') == 8 and result.stdout.count('mean of 7: ') == 1
    written = {v.name: v.read_bytes() for v in (tmp_path / 'out').iterdir()}
    assert sorted(written) == [f'{i}.png' for i in range(7)]

    (tmp_path / 'in' / 'broken.png').unlink()
    (tmp_path / 'out' / '3.png').unlink()  # as after a kill
    result = torchrun(tmp_path, *args)
    assert result.returncode == 0 and result.stdout.splitlines()[-1] == '1 restored to out, 6 skipped'
    assert {v.name: v.read_bytes() for v in Path(tmp_path / 'out').iterdir()} == written
