"""Downloads from servers that misbehave, on the loopback interface."""
import hashlib
import os
import pytest
import socket
import threading
import time
import torch
from contextlib import contextmanager
from os import path as osp

from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference import download as download_module
from memnet_basicsr.inference.weights import find_weights, load_network


@contextmanager
def serve(*answers, wait=0, family=socket.AF_INET, host='127.0.0.1'):
    """Answer one connection after the other with these bytes; yields the port and the requested paths."""
    server, paths = socket.socket(family), []
    server.bind((host, 0))
    server.listen()

    def run():
        for answer in answers:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client:
                request = client.recv(65536)
                paths.append(request.split()[1].decode('latin-1'))
                client.sendall(answer)
                time.sleep(wait)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    yield server.getsockname()[1], paths
    server.close()


def answer(content, length=None, status='200 OK', headers=''):
    length = len(content) if length is None else length
    return f'HTTP/1.0 {status}\r\nContent-Length: {length}\r\n{headers}\r\n'.encode() + content


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv('no_proxy', '*')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    return tmp_path / 'hub'


@pytest.fixture
def content(make_weights):
    with open(make_weights(offset=0.25), 'rb') as f:
        return f.read()


def cached_files(cache):
    return [v for _, _, names in os.walk(cache) for v in names]


def refused(cache, address, message):
    with pytest.raises(UsageError, match=message) as error:
        find_weights(address)
    text = str(error.value)
    assert text.startswith(f'weights {address}: cannot be downloaded to {cache}') and '\n' not in text
    assert cached_files(cache) == []


@pytest.mark.parametrize('name', ['a b.pth', 'größe.pth', 'a%20b.pth?x=y z', 'x.pth#part', '..%2F..%2Fx.pth'])
def test_names_of_all_kinds(cache, content, name):
    with serve(answer(content)) as (port, paths):
        path = find_weights(f'http://127.0.0.1:{port}/{name}')
    assert load_network(path)[0].offset.item() == 0.25
    assert osp.dirname(osp.dirname(path)) == str(cache / 'checkpoints' / 'memnet_basicsr')
    assert len(cached_files(cache)) == 1 and ' ' not in paths[0] and paths[0].isascii()


def test_ipv6(cache, content):
    try:
        with serve(answer(content), family=socket.AF_INET6, host='::1') as (port, _):
            assert load_network(f'http://[::1]:{port}/a.pth')[0].offset.item() == 0.25
    except OSError:
        pytest.skip('no IPv6 here')


def test_checksum_in_the_name(cache, content):
    digest = hashlib.sha256(content).hexdigest()[:8]
    with serve(answer(content), answer(content)) as (port, _):
        refused(cache, f'http://127.0.0.1:{port}/net-00000000.pth', rf'SHA-256 is {digest}\.\.\. instead of 00000000')
        assert osp.isfile(find_weights(f'http://127.0.0.1:{port}/net-{digest}.pth'))


@pytest.mark.parametrize('make, message', [
    (lambda v: answer(v[:100], len(v)), r'100 bytes received instead of \d+'),
    (lambda v: answer(b'<html>Please log in</html>'), 'holds more than tensors|damaged'),
    (lambda v: answer(b''), 'damaged|cannot be loaded'),
    (lambda v: answer(v[:len(v) // 2]), 'damaged'),
    (lambda v: answer(b'', status='404 Not Found'), 'Not Found'),
    (lambda v: answer(v, status='500 Broken'), 'Broken'),
    (lambda v: b'SSH-2.0-OpenSSH\r\n', 'SSH-2.0-OpenSSH|RemoteDisconnected'),
    (lambda v: b'', 'closed connection'),
    (lambda v: answer(b'', status='302 Found', headers='Location: ftp://127.0.0.1/a.pth\r\n'), 'to ftp refused|ftp'),
    (lambda v: answer(b'', status='302 Found', headers='Location: file:///etc/passwd\r\n'), 'file'),
    (lambda v: answer(b'', status='302 Found', headers='Location: data:,x\r\n'), 'data'),
])
def test_wrong_answers(cache, content, make, message):
    with serve(make(content)) as (port, _):
        refused(cache, f'http://127.0.0.1:{port}/a.pth', message)


def test_redirects_within_http(cache, content):
    with serve(answer(b'', status='302 Found', headers='Location: /b.pth\r\n'), answer(content)) as (port, paths):
        assert load_network(f'http://127.0.0.1:{port}/a.pth')[0].offset.item() == 0.25
    assert paths == ['/a.pth', '/b.pth']


def test_https_is_not_left():
    request = download_module.urllib.request.Request('https://127.0.0.1/a')
    with pytest.raises(ValueError, match='redirect from https to http refused'):
        download_module._SafeRedirects().redirect_request(request, None, 302, '', {}, 'http://127.0.0.1/a')


def test_limits_of_time_and_size(cache, content, monkeypatch):
    monkeypatch.setattr(download_module, 'TIMEOUT', 0.2)
    with serve(answer(content[:100], len(content)), wait=2) as (port, _):
        refused(cache, f'http://127.0.0.1:{port}/a.pth', 'timed out')
    monkeypatch.setattr(download_module, 'TOTAL_TIMEOUT', -1)
    with serve(answer(content)) as (port, _):
        refused(cache, f'http://127.0.0.1:{port}/a.pth', 'not finished after')
    monkeypatch.setattr(download_module, 'TOTAL_TIMEOUT', 60)
    monkeypatch.setattr(download_module, 'MAX_SIZE', len(content) - 1)
    without_length = b'HTTP/1.0 200 OK\r\n\r\n' + content
    with serve(answer(content), without_length) as (port, _):
        for _ in range(2):
            refused(cache, f'http://127.0.0.1:{port}/a.pth', 'larger than')


@pytest.mark.parametrize('address', ['http://[::1/a.pth', 'http://x\ny/a.pth', 'http://\ud800/a.pth'])
def test_what_is_no_address(cache, address):
    with pytest.raises(UsageError, match=r"^weights 'http://.*': not an address \(.*\)$"):
        find_weights(address)


def test_damaged_cache_file_is_downloaded_again(cache, content):
    with serve(answer(content), answer(content)) as (port, paths):
        path = find_weights(f'http://127.0.0.1:{port}/a.pth')
        with open(path, 'r+b') as f:
            f.truncate(100)
        assert load_network(f'http://127.0.0.1:{port}/a.pth')[0].offset.item() == 0.25
        assert find_weights(f'http://127.0.0.1:{port}/a.pth') == path and len(paths) == 2
        with open(path, 'r+b') as f:
            f.truncate(100)
    with pytest.raises(UsageError, match=r'a\.pth: cannot be downloaded to .*refused'):
        find_weights(f'http://127.0.0.1:{port}/a.pth')


def test_leftovers_of_killed_downloads_are_removed(cache, content):
    with serve(b'', answer(content)) as (port, _):
        address = f'http://127.0.0.1:{port}/a.pth'
        refused(cache, address, 'closed connection')
        folder, = (cache / 'checkpoints' / 'memnet_basicsr').iterdir()
        for name, age in (('partial-1-a.pth', 3600), ('partial-2-a.pth', 0)):
            (folder / name).touch()
            os.utime(folder / name, (time.time() - age, ) * 2)
        find_weights(address)
    assert sorted(cached_files(cache)) == ['a.pth', 'partial-2-a.pth']
