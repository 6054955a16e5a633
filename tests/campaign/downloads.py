"""Weights from servers on the loopback interface that misbehave."""
import contextlib
import hashlib
import os
import socket
import threading
import time
from functools import partial
from pathlib import Path

from tests.campaign.faults import LIMITED, RESTORE


@contextlib.contextmanager
def serve(parts, pause):
    """Answer every connection with these parts; a pause follows each. Yields the port."""
    server, stop = socket.socket(), threading.Event()
    server.bind(('127.0.0.1', 0))
    server.listen()

    def run():
        while True:
            try:
                client, _ = server.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                client.recv(65536)
                for part in parts:
                    client.sendall(part)
                    stop.wait(pause)

    threading.Thread(target=run, daemon=True).start()
    try:
        yield server.getsockname()[1]
    finally:
        stop.set()
        server.close()


def head(length=None, status='200 OK', **headers):
    lines = [f'HTTP/1.1 {status}', 'Connection: close', *(f'{k.replace("_", "-")}: {v}' for k, v in headers.items())]
    lines += [] if length is None else [f'Content-Length: {length}']
    return '\r\n'.join([*lines, '', '']).encode()


def redirect(target):
    return head(0, '302 Found', Location=target)


# what the server sends in place of weights, and words of the line
ANSWERS = {
    'nothing': (lambda v: [b''], ''),
    'another protocol': (lambda v: [b'SSH-2.0-OpenSSH_9.0\r\n'], ''),
    'half a status line': (lambda v: [b'HTTP/1.1 20'], ''),
    'endless header': (lambda v: [b'HTTP/1.1 200 OK\r\nX: ' + b'x' * 10**6], ''),
    'many headers': (lambda v: [b'HTTP/1.1 200 OK\r\n' + b'X: 1\r\n' * 10**4 + b'\r\n'], ''),
    'not found': (lambda v: [head(9, '404 Not Found'), b'not found'], 'Not Found'),
    'server error': (lambda v: [head(0, '500 Broken')], 'Broken'),
    'no content': (lambda v: [head(0, '204 No Content')], ''),
    'empty': (lambda v: [head(0)], ''),
    'a page': (lambda v: [head(), b'<html>Please log in</html>'], ''),
    'half of it': (lambda v: [head(len(v)), v[:len(v) // 2]], 'bytes received instead of'),
    'half of it, no length': (lambda v: [head(), v[:len(v) // 2]], ''),
    'length too short': (lambda v: [head(len(v) // 2), v], ''),
    'length too long': (lambda v: [head(len(v) + 1), v], 'bytes received instead of'),
    'huge length': (lambda v: [head(10**15), v], 'larger than 2 GB'),
    'negative length': (lambda v: [head(-5), b'x' * 10], ''),
    'a flipped bit': (lambda v: [head(len(v)), v[:900] + bytes([v[900] ^ 4]) + v[901:]], 'damaged'),
    'broken chunks': (lambda v: [head(Transfer_Encoding='chunked'), b'zz\r\n' + v], ''),
    'half a chunk': (lambda v: [head(Transfer_Encoding='chunked'), b'ffff\r\n' + v[:100]], ''),
    'another encoding': (lambda v: [head(len(v), Content_Encoding='gzip'), b'\x1f\x8b' + v[2:]], ''),
    'redirect to a file': (lambda v: [redirect('file:///etc/passwd')], ''),
    'redirect to ftp': (lambda v: [redirect('ftp://127.0.0.1/a.pth')], 'ftp'),
    'redirect to data': (lambda v: [redirect('data:,x')], ''),
    'redirect to itself': (lambda v: [redirect('/a.pth')], 'redirect'),
    'redirect to nowhere': (lambda v: [redirect('http://127.0.0.1:1/a.pth')], 'refused'),
    'redirect to nonsense': (lambda v: [redirect('http://[::1/a.pth')], ''),
    'redirect without a place': (lambda v: [head(0, '302 Found')], 'Found'),
}  # yapf: disable


def faults(campaign):
    for name in list(ANSWERS)[::1 if campaign.is_long else 6]:
        yield f'server: {name}', partial(wrong_answer, *ANSWERS[name])
    yield 'wrong checksum in the name', wrong_checksum
    yield 'damaged file in the cache', damaged_cache
    if campaign.is_long:
        yield 'server: silent for ever', partial(wrong_answer, lambda v: [head(len(v)), v[:100]], 'timed out', 100)
        yield 'killed in a download', killed
        yield 'full disk', full_disk
        draw = campaign.generator('downloads')
        for i in range(20):
            garbage = draw.randbytes(draw.randrange(1, 4000))
            parts = [head(len(garbage)), garbage] if i % 2 else [garbage]
            yield f'server: random bytes {i}', partial(wrong_answer, lambda v, parts=parts: parts, '')


def restored(campaign, folder, port, name='a.pth', log='log', **more):
    address = f'http://127.0.0.1:{port}/{name}'
    return address, campaign.restore(folder, '-i', 'pics/val', '-o', 'out', weights=address, log=log, **more)


def cache_files(folder):
    return [v for v in (folder / 'cache').rglob('*') if v.is_file()]


def wrong_answer(make, words, *rest):
    pause, campaign, folder = (0.0, *rest)[-3:]
    content = Path(campaign.weights).read_bytes()
    with serve(make(content), pause) as port:
        address, result = restored(campaign, folder, port)
    result.refused(f'weights {address}: cannot be downloaded to {folder}/cache', words)
    assert len(result.log.splitlines()) == 1, result.log
    assert cache_files(folder) == []


def wrong_checksum(campaign, folder):
    content = Path(campaign.weights).read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:8]
    with serve([head(len(content)), content], 0) as port:
        _, result = restored(campaign, folder, port, 'net-00000000.pth')
        result.refused(f'SHA-256 is {digest}... instead of 00000000')
        restored(campaign, folder, port, f'net-{digest}.pth', log='right')[1].check((0, ))


def damaged_cache(campaign, folder):
    content = Path(campaign.weights).read_bytes()
    with serve([head(len(content)), content], 0) as port:
        restored(campaign, folder, port)[1].check((0, ))
        path, = cache_files(folder)
        path.write_bytes(content[:300])
        restored(campaign, folder, port, log='again')[1].check((0, ))
        assert path.read_bytes() == content


def killed(campaign, folder):
    """The next download removes what is old."""
    content = Path(campaign.weights).read_bytes()
    with serve([head(len(content)), content[:100]], 100) as port:
        address = f'http://127.0.0.1:{port}/a.pth'
        pid = campaign.server.start(
            folder, '-i', 'pics/val', '-o', 'out', '--weights', address, script=RESTORE,
            env={'TORCH_HOME': str(folder / 'cache'), 'no_proxy': '*'})  # yapf: disable
        end = time.monotonic() + 30
        while not cache_files(folder) and time.monotonic() < end:
            time.sleep(0.05)
        os.killpg(pid, 9)
        campaign.server.wait(pid)
    partial_file, = cache_files(folder)
    os.utime(partial_file, (0, 0))
    target = partial_file.parent
    with serve([head(len(content)), content], 0) as port:
        os.rename(target, target.parent / hashlib.sha256(f'http://127.0.0.1:{port}/a.pth'.encode()).hexdigest()[:8])
        restored(campaign, folder, port, log='again')[1].check((0, ))
    assert [v.name for v in cache_files(folder)] == ['a.pth']


def full_disk(campaign, folder):
    content = Path(campaign.weights).read_bytes()
    with serve([head(len(content)), content], 0) as port:
        address = f'http://127.0.0.1:{port}/a.pth'
        campaign.run(
            folder, 4000, RESTORE, '-i', 'pics/val', '-o', 'out', '--weights', address,
            script=LIMITED).refused(address, 'File too large')  # yapf: disable
    assert cache_files(folder) == []
