"""The page of `memnet gui`, in a headless browser."""
import cv2
import numpy as np
import os
import pytest
import shutil
import socket
import subprocess
import sys
import zipfile

from memnet_basicsr.inference.gui import main
from memnet_basicsr.inference.restorer import load_restorer
from tests.conftest import clean_env

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')


def test_without_gradio(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'gradio', None)
    assert main([]) == 1 and capsys.readouterr().err == 'memnet gui: needs Gradio: pip install "memnet-basicsr[gui]"\n'


@pytest.fixture(scope='module')
def address():
    pytest.importorskip('gradio')
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    code = 'import sys; from _memnet_basicsr_command import main; sys.exit(main(sys.argv[1:]))'
    command = [sys.executable, '-c', code, 'gui', '--no-browser', '--device', 'cpu', '--port', str(port)]
    env = clean_env(
        PYTHONUNBUFFERED='1',
        HTTP_PROXY='http://127.0.0.1:9',
        HTTPS_PROXY='http://127.0.0.1:9',
        NO_PROXY='127.0.0.1,localhost')
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert any(f'http://127.0.0.1:{port}' in line for line in process.stdout)
            yield f'http://127.0.0.1:{port}'
        finally:
            process.terminate()


@pytest.fixture
def page(address):
    playwright = pytest.importorskip('playwright.sync_api')
    if CHROMIUM is None:
        pytest.skip('Chromium is not installed')
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=['--no-sandbox'])
        page = browser.new_page(viewport={'width': 1200, 'height': 800})
        page.set_default_timeout(90_000)
        page.others = []
        page.on('request', lambda v: page.others.append(v.url))
        page.goto(address)
        yield page
        # offline: data and the page itself only
        assert not [v for v in page.others if not v.startswith((address, 'data:', 'blob:'))]
        browser.close()


def shoot(page, name):
    if 'MEMNET_SCREENSHOTS' in os.environ:
        page.screenshot(path=os.path.join(os.environ['MEMNET_SCREENSHOTS'], name))


def noisy(path, seed=0):
    img = np.full((64, 80), 128.) + np.random.default_rng(seed).normal(0, 25, (64, 80))
    cv2.imwrite(str(path), img.clip(0, 255).round().astype(np.uint8))
    return str(path)


def choose(page, *paths):
    page.locator('input[type=file]').first.set_input_files(list(paths))
    page.get_by_text(os.path.basename(paths[-1])[:4]).first.wait_for()
    page.get_by_role('button', name='Restore').click()


def download(page, path):
    with page.expect_download() as found:
        page.get_by_role('button', name='Download').click()
    found.value.save_as(path)


def test_one_image_and_a_batch(page, tmp_path):
    path = noisy(tmp_path / 'grayone.png')
    choose(page, path)
    page.get_by_text('restored with memnet_denoise').wait_for()
    assert page.get_by_text('noise sigma about').is_visible()
    assert page.locator('img').count() >= 2
    shoot(page, 'one.png')
    download(page, tmp_path / 'out.png')
    wanted = load_restorer('memnet_denoise', device='cpu', tile=512)(cv2.imread(path, 0))
    assert np.abs(cv2.imread(str(tmp_path / 'out.png'), 0).astype(int) - wanted).max() <= 1

    page.reload()
    (tmp_path / 'broken.png').write_bytes(b'not an image')
    (tmp_path / 'other').mkdir()
    choose(page, path, str(tmp_path / 'broken.png'), noisy(tmp_path / 'other' / 'grayone.png'),
           noisy(tmp_path / 'graytwo.png', 1))
    page.get_by_text('graytwo.png: ').wait_for()
    assert page.get_by_text('broken.png: ').is_visible()
    shoot(page, 'batch.png')
    download(page, tmp_path / 'out.zip')
    with zipfile.ZipFile(tmp_path / 'out.zip') as archive:
        assert sorted(archive.namelist()) == ['2/grayone.png', 'grayone.png', 'graytwo.png']


def test_broken_file(page, tmp_path):
    (tmp_path / 'broken.png').write_bytes(b'not an image')
    choose(page, str(tmp_path / 'broken.png'))
    page.get_by_text('broken.png: ').wait_for()
    assert page.get_by_text('Error').first.is_visible()
    shoot(page, 'broken.png')
