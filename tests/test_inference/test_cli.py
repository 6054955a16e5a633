import cv2
import json
import numpy as np
import os
import pytest
import subprocess
import sys
import time
from os import path as osp
from PIL import Image

import memnet_basicsr
from memnet_basicsr.inference.cli import main
from memnet_basicsr.inference.file_list import list_files
from memnet_basicsr.inference.restorer import load_restorer

CLI = osp.join(osp.dirname(memnet_basicsr.__file__), 'inference', 'cli.py')


def save(path, *shape, dtype=np.uint8, seed=0, **options):
    os.makedirs(osp.dirname(path), exist_ok=True)
    img = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max + 1, shape, dtype=dtype)
    if dtype == np.uint16:
        cv2.imwrite(str(path), img)
    else:
        Image.fromarray(img).save(path, **options)
    return img


@pytest.fixture
def run(make_weights, tmp_path, capsys, monkeypatch):
    """Run the command in tmp_path; return the exit code, lines of stdout and lines of stderr."""
    monkeypatch.chdir(tmp_path)
    weights = make_weights()

    def run(*argv, weights=weights):
        code = main([*map(str, argv), '--weights', weights, '--device', 'cpu'])
        out, err = capsys.readouterr()
        assert 'Traceback' not in out + err
        return code, out.splitlines(), err.splitlines()

    return run


def tree(folder):
    return sorted(osp.relpath(osp.join(p, v), folder) for p, _, names in os.walk(folder) for v in names)


def test_folders_keep_names_depth_and_alpha(run, make_weights, tmp_path):
    imgs = {
        'gray.png': save('in/gray.png', 9, 8),
        'sub/color.tif': save('in/sub/color.tif', 9, 8, 3),
        'sub/deep.er/alpha.png': save('in/sub/deep.er/alpha.png', 9, 8, 4),
        'wide.png': save('in/wide.png', 9, 8, 3, dtype=np.uint16),
        'UPPER.PNG': save('in/UPPER.PNG', 1, 1),
    }
    assert run('-i', 'in', '-o', 'out') == (0, ['5 restored to out'], [])
    assert tree('out') == sorted(imgs)
    restore = load_restorer(make_weights(), device='cpu')
    for name, img in imgs.items():
        out = cv2.imread(f'out/{name}', cv2.IMREAD_UNCHANGED)
        assert out.dtype == img.dtype and out.shape == img.shape
        if name == 'wide.png' or img.ndim == 2:
            want = restore(img)
        else:
            want = restore(img[..., :3])[..., ::-1]
        assert np.array_equal(out[..., :3] if img.ndim == 3 else out, want)
        if 'alpha' in name:
            assert np.array_equal(out[..., 3], img[..., 3])


def test_one_file_to_a_file_and_patterns(run):
    save('in/a.png', 5, 6)
    save('in/x/b.png', 5, 6)
    save('in/x/c.jpg', 5, 6)
    assert run('-i', 'in/a.png', '-o', 'new/folder/z.png')[0] == 0
    assert tree('new') == ['folder/z.png']
    assert run('-i', 'in/**/*.png', '-o', 'out')[0] == 0
    assert tree('out') == ['a.png', 'x/b.png']


def test_existing_files_are_kept_without_overwrite(run):
    save('in/a.png', 5, 6)
    save('out/a.png', 2, 2)
    save('in/b.png', 5, 6)
    code, out, err = run('-i', 'in', '-o', 'out')
    assert code == 0 and out == ['1 restored to out, 1 skipped'] and 'already exists' in err[0]
    assert Image.open('out/a.png').size == (2, 2)
    assert run('-i', 'in', '-o', 'out', '--overwrite')[0] == 0
    assert Image.open('out/a.png').size == (6, 5)


def test_outputs_in_the_input_folder_are_not_inputs(run):
    save('in/a.png', 5, 6)
    for _ in range(2):
        assert run('-i', 'in', '-o', 'in/out')[0] == 0
    assert tree('in') == ['a.png', 'out/a.png']
    code, _, err = run('-i', 'in/a.png', '-o', 'in')
    assert code == 0 and 'already exists' in err[0]


def test_broken_files_do_not_stop_the_others(run, tmp_path):
    from test_image_io import bad_files
    os.makedirs('in')
    bad = bad_files(tmp_path / 'in')
    os.unlink('in/loop.png')
    os.symlink('..', 'in/circle')
    os.symlink('nowhere', 'in/dangling.png')
    (tmp_path / 'in' / 'notes.txt').write_text('hello')
    save('in/a.png', 5, 6)
    save('in/z.png', 5, 6)
    Image.new('CMYK', (6, 5)).save('in/cmyk.jpg')
    Image.new('P', (6, 5)).save('in/palette.gif')
    code, out, err = run('-i', 'in', '-o', 'out')
    assert code == 1
    assert out == [f'4 restored to out, {len(bad) - 1} failed']
    assert tree('out') == ['a.png', 'cmyk.jpg', 'palette.png', 'z.png']
    said = {
        **{
            k: v
            for k, v in bad.items() if k != 'loop.png'
        }, 'circle': 'visited anyway',
        'dangling.png': 'dangling link',
        'notes.txt': 'no suffix of an image',
        'cmyk.jpg': 'converted to RGB'
    }
    assert len(err) == len(said)
    for name in said:
        assert sum(name in line for line in err) == 1, name


def test_long_and_tiny_images(run):
    save('in/long.png', 20, 20000)
    save('in/one.png', 1, 1, 3)
    assert run('-i', 'in', '-o', 'out') == (0, ['2 restored to out'], [])
    assert Image.open('out/long.png').size == (20000, 20)


@pytest.mark.parametrize('argv, message', [
    (['-i', 'nothing', '-o', 'out'], 'nothing: there is no such file'),
    (['-i', 'empty', '-o', 'out'], 'empty: no images found'),
    (['-i', 'in/*.bmp', '-o', 'out'], 'no images found'),
    (['-i', 'in', '-o', 'in/a.png'], 'cannot be created|is not writable'),
    (['-i', 'in', '-o', 'in/a.png/out'], 'cannot be created'),
    (['-i', 'in', '-o', 'dangling'], r'dangling: cannot be created as the output folder \(a dangling link\)'),
    (['-i', 'in/a.png', 'other/a.png', '-o', 'out'], 'would both be written to'),
    (['-i', 'in', '-o', 'out', '--gt', 'nothing'], 'nothing: there is no such'),
    (['-i', 'in', '-o', 'out', '--scale', '2'], 'scale: 2.0 is for super-resolution'),
])
def test_user_errors_are_one_line_and_nothing_is_written(run, argv, message):
    save('in/a.png', 5, 6)
    save('in/b.png', 5, 6)
    save('other/a.png', 5, 6)
    os.makedirs('empty')
    os.symlink('nowhere', 'dangling')
    before = tree('.')
    code, out, err = run(*argv)
    assert (code, out, len(err)) == (1, [], 1)
    assert err[0].startswith('memnet-restore: ')
    import re
    assert re.search(message, err[0])
    assert tree('.') == before


def test_progress_bar_does_not_change_the_output(run, monkeypatch):
    save('in/a.png', 50, 60, 3)
    assert run('-i', 'in', '-o', 'out')[0] == 0
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True, raising=False)
    code, _, err = run('-i', 'in', '-o', 'out_bar', '--tile', '20')
    assert code == 0 and any('100%|' in line and 'left' in line for line in err)
    assert np.abs(cv2.imread('out/a.png').astype(int) - cv2.imread('out_bar/a.png')).max() <= 1


def test_missing_weights_are_one_line(run):
    save('in/a.png', 5, 6)
    code, _, err = run('-i', 'in', '-o', 'out', weights='memnet_nothing')
    assert code == 1 and len(err) == 1 and 'bundled are' in err[0]


def test_a_full_disk_is_reported_per_image(run, monkeypatch):
    save('in/a.png', 5, 6)

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    code, out, err = run('-i', 'in', '-o', 'out')
    assert code == 1 and out == ['0 restored to out, 1 failed']
    assert 'in/a.png: the output cannot be written: No space left on device' in err[0] and tree('out') == []


def test_metrics_against_clean_images(run):
    from skimage.metrics import peak_signal_noise_ratio
    lq = save('in/s/a.png', 30, 40, 3)
    clean = save('gt/s/a.bmp', 30, 40, 3, seed=1)
    save('in/b.png', 10, 9)
    save('gt/b.png', 10, 9)
    save('in/c.png', 30, 40)
    save('in/d.png', 30, 40)
    save('gt/d.png', 30, 41)
    code, out, err = run('-i', 'in', '-o', 'out', '--gt', 'gt')
    assert code == 1 and len(err) == 2
    assert 'c.png: has no clean image in gt' in err[0] and '30x41' in err[1]
    restored = np.array(Image.open('out/s/a.png'))
    before, after = (peak_signal_noise_ratio(clean, v, data_range=255) for v in (lq, restored))
    line = next(v for v in out if v.startswith('in/s/a.png'))
    assert f'PSNR {before:.2f} -> {after:.2f} dB, SSIM' in line
    assert next(v for v in out if v.startswith('in/b.png')).count('SSIM') == 0  # smaller than its window
    assert out[-2].startswith('mean of 2: PSNR inf')


def test_comparison_panel(run):
    img = save('in/a.png', 5, 6)
    gt = save('gt/a.png', 5, 6, seed=1)
    run('-i', 'in', '-o', 'out', '--compare', '--gt', 'gt')
    panel = np.array(Image.open('out/a_compare.png'))
    assert panel.shape == (5, 18, 3)
    assert np.array_equal(panel[:, :6, 0], img) and np.array_equal(panel[:, 12:, 0], gt)
    assert np.array_equal(panel[:, 6:12, 0], np.array(Image.open('out/a.png')))


def test_super_resolution_with_alpha(run, make_weights):
    save('in/a.png', 5, 6, 4)
    save('gt/a.png', 15, 18, 3)
    code, out, _ = run(
        '-i', 'in', '-o', 'out', '--scale', 3, '--gt', 'gt', '--compare', weights=make_weights('sr', scale=[2, 3]))
    assert code == 0 and Image.open('out/a.png').size == (18, 15) and Image.open('out/a.png').mode == 'RGBA'
    assert Image.open('out/a_compare.png').size == (54, 15) and 'PSNR' in out[0]


def test_one_name_from_two_formats_is_refused(run):
    save('in/a.gif', 5, 6)
    save('in/a.png', 7, 8)
    code, _, err = run('-i', 'in', '-o', 'out')
    assert code == 1 and 'another image was just written to' in err[0] and tree('out') == ['a.png']


def test_bundled_networks_start_without_basicsr(tmp_path):
    """BasicSR and torchvision take as long to import as torch."""
    code = """
import json, numpy, sys
from PIL import Image
from _memnet_basicsr_command import main
Image.fromarray(numpy.full((20, 24), 99, numpy.uint8)).save('in.png')
codes = [main(['restore', '-i', 'in.png', '-o', f'{i}.png', '--device', 'cpu', *v])
         for i, v in enumerate((['--weights', 'memnet_denoise'], ['--auto']))]
print(json.dumps([codes, [v for v in ('basicsr', 'torchvision') if sys.modules.get(v)]]))
"""
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=tmp_path)
    assert json.loads(done.stdout.splitlines()[-1]) == [[0, 0], []], done.stderr
    assert sorted(os.listdir(tmp_path)) == ['0.png', '1.png', 'in.png']


def test_help_and_wrong_options_import_nothing_heavy():
    code = '''
import importlib.util, json, sys
spec = importlib.util.spec_from_file_location('memnet_basicsr.inference.cli', sys.argv[1])
cli = importlib.util.module_from_spec(spec)
spec.loader.exec_module(cli)
codes = []
for argv in (['--help'], ['-i'], ['-i', 'a', '-o', 'b', '-w', 'c', '--tile', '-1'],
             ['-i', 'a', '-o', 'b', '--auto', '--strength', '1.1'], ['-i', 'a', '-o', 'b'],
             ['-i', 'a', '-o', 'b', '-w', 'c', '--auto']):
    try:
        cli.main(argv)
    except SystemExit as error:
        codes.append(error.code)
heavy = [v for v in ('torch', 'numpy', 'cv2', 'basicsr', 'memnet_basicsr') if v in sys.modules]
print(json.dumps([codes, heavy]))
'''
    done = subprocess.run([sys.executable, '-c', code, CLI], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == [[0, 2, 2, 2, 2, 2], []]
    assert 'examples:' in done.stdout and 'memnet_denoise ' in done.stdout and 'Traceback' not in done.stderr


@pytest.mark.parametrize('given, want', [({}, 'PASSIVE'), ({'OMP_WAIT_POLICY': 'ACTIVE'}, 'ACTIVE')])
def test_waiting_threads_sleep_by_default(given, want):
    code = """
import os, sys, _memnet_basicsr_command
try:
    _memnet_basicsr_command.restore()
except SystemExit:
    print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)
"""
    env = {k: v for k, v in os.environ.items() if k != 'OMP_WAIT_POLICY'} | given
    done = subprocess.run([sys.executable, '-c', code, '--help'], capture_output=True, text=True, check=True, env=env)
    assert done.stdout.splitlines()[-1] == f'{want} False'


def test_module_can_be_run(tmp_path, make_weights):
    # a stock network, because BlurForTests is registered in this process only
    import torch

    from basicsr.archs.srresnet_arch import MSRResNet
    from memnet_basicsr.inference.description import describe
    from memnet_basicsr.inference.weights import write_weights
    args = {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 4, 'num_block': 1, 'upscale': 2}
    torch.manual_seed(0)
    write_weights(
        str(tmp_path / 'w.pth'),
        MSRResNet(**args).state_dict(), describe({'network_g': {
            'type': 'MSRResNet',
            **args
        }}, 'sr', scale=[2]))
    save(str(tmp_path / 'a.png'), 5, 6, 3)
    root = osp.dirname(osp.dirname(memnet_basicsr.__file__))
    done = subprocess.run(
        [sys.executable, '-m', 'memnet_basicsr.inference', '-i', 'a.png', '-o', 'b.png', '-w', 'w.pth'],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={
            **os.environ, 'PYTHONPATH': root
        })
    assert done.returncode == 0, done.stderr
    assert Image.open(tmp_path / 'b.png').size == (12, 10)


def test_folders_are_entered_once(tmp_path):
    save(str(tmp_path / 'a/x.png'), 2, 2)
    save(str(tmp_path / 'real/y.png'), 2, 2)
    os.symlink('..', tmp_path / 'a/up')
    os.symlink(tmp_path / 'a', tmp_path / 'a/self')
    os.symlink(tmp_path / 'real', tmp_path / 'a/other')
    os.symlink(tmp_path / 'a', tmp_path / 'real/back')
    files = list_files([str(tmp_path / 'a')], ('.png', ))
    assert [v for _, v in files.images] == ['x.png', 'other/y.png']
    assert len(files.skipped) == 3
    assert len(list_files([str(tmp_path / 'a')] * 2, ('.png', )).images) == 2


def noisy(path, sigma, side=256, **options):
    img = np.random.default_rng(0).normal(128, sigma, (side, side, 3)).round().clip(0, 255).astype(np.uint8)
    os.makedirs(osp.dirname(path), exist_ok=True)
    Image.fromarray(img).save(path, **options)
    return img


def test_level_of_each_image_is_printed_and_checked(run, make_weights):
    noisy('in/a.png', 40)
    noisy('in/b.png', 10)
    weights = make_weights(valid_range={'sigma': [0, 20]})
    code, out, err = run('-i', 'in', '-o', 'out', weights=weights)
    assert code == 0 and tree('out') == ['a.png', 'b.png']
    assert out[:2] == [f'in/{k}.png: noise sigma about {v} (range 0 to 20)' for k, v in (('a', 40), ('b', 10))]
    assert err == [f'in/a.png: noise sigma about 40 is outside the range 0 to 20 of {weights}, restored anyway']


def test_quality_comes_from_the_jpeg_file(run, make_weights):
    noisy('in/a.jpg', 10, quality=30)
    noisy('in/b.png', 10)
    code, out, err = run('-i', 'in', '-o', 'out', weights=make_weights('jpeg', valid_range={'quality': [40, 90]}))
    assert code == 0 and out[:2] == [
        'in/a.jpg: JPEG quality 30 (range 40 to 90)',
        'in/b.png: JPEG quality unknown (not a JPEG file) (range 40 to 90)'
    ]
    assert len(err) == 1 and 'JPEG quality 30 is outside the range 40 to 90' in err[0]


def test_auto_restores_what_is_degraded_and_copies_the_rest(make_weights, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    os.makedirs('bundled')
    for name, task, valid_range in (('noise', 'denoise', {
            'sigma': [0, 75]
    }), ('blocks', 'jpeg', {
            'quality': [5, 98]
    }), ('old', 'denoise', None)):
        os.rename(make_weights(task, valid_range=valid_range), f'bundled/{name}.pth')
    for module in ('batch', 'weights'):
        monkeypatch.setattr(f'memnet_basicsr.inference.{module}.PACKAGED', str(tmp_path / 'bundled'))
    img = noisy('in/noisy.png', 30)
    noisy('in/sub/good.jpg', 2, quality=95)
    noisy('in/blocky.jpg', 30, quality=20)
    noisy('in/good.png', 2)
    assert main(['-i', 'in', '-o', 'out', '--auto', '--device', 'cpu', '--compare']) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[:4] == [
        'in/blocky.jpg: JPEG quality 20, restored with blocks',
        'in/good.png: looks clean (noise sigma about 2), copied unchanged',
        'in/noisy.png: noise sigma about 30, restored with noise',
        'in/sub/good.jpg: looks clean (noise sigma about 0, JPEG quality 95), copied unchanged'
    ]
    assert out.splitlines()[-1] == '2 restored to out, 2 copied unchanged' and not err
    for name in ('good.png', 'sub/good.jpg'):  # byte by byte
        with open(f'in/{name}', 'rb') as a, open(f'out/{name}', 'rb') as b:
            assert a.read() == b.read()
    assert np.array_equal(np.array(Image.open('out/noisy.png')), load_restorer('noise', device='cpu')(img))
    assert main(['-i', 'in/good.png', '-o', 'good.jpg', '--auto', '--device', 'cpu']) == 0
    assert Image.open('good.jpg').format == 'JPEG'
    assert main(['-i', 'in', '-o', 'out', '--auto', '--scale', '2']) == 1
    assert 'scale: auto does not select networks for super-resolution' in capsys.readouterr()[1]


def test_strength_zero_writes_the_input(run):
    img = save('in/a.png', 9, 8, 3)
    assert run('-i', 'in', '-o', 'out', '--strength', '0')[0] == 0
    assert np.array_equal(np.array(Image.open('out/a.png')), img)


def test_output_that_is_not_finite_fails_with_the_name_of_the_image(run, monkeypatch):
    from memnet_basicsr.inference.restorer import Restorer
    save('in/a.png', 5, 6)
    save('in/b.png', 5, 7)
    apply = Restorer._apply
    monkeypatch.setattr(Restorer, '_apply', lambda self, lq: apply(self, lq) * (float('nan') if lq.size(3) == 6 else 1))
    code, out, err = run('-i', 'in', '-o', 'out')
    assert code == 1 and out == ['1 restored to out, 1 failed'] and tree('out') == ['b.png']
    assert err == ['in/a.png: the output holds NaN or infinite values; use precision fp32, or check the weights']


def test_limit_of_the_size(run):
    save('in/a.png', 50, 60)
    code, _, err = run('-i', 'in', '-o', 'out', '--max_megapixels', '0.002')
    assert code == 1 and 'in/a.png: has 0.003 megapixels; the limit is 0.002' in err[0]
    assert run('-i', 'in', '-o', 'out', '--max_megapixels', '0.003')[0] == 0


def test_temporary_files_of_killed_runs_are_removed(run):
    save('in/a.png', 5, 6)
    os.makedirs('out')
    for name, age in (('.a.png0123abcd.part', 100), ('.b.png0123abcd.part', 0), ('.mine.part', 100)):
        with open(f'out/{name}', 'w'):
            pass
        os.utime(f'out/{name}', (time.time() - age, ) * 2)
    assert run('-i', 'in', '-o', 'out')[0] == 0
    assert tree('out') == ['.b.png0123abcd.part', '.mine.part', 'a.png']
