"""Weights on the Hugging Face Hub, offline: a local folder, and a stand-in for the Hub on the loopback interface."""
import base64
import hashlib
import json
import numpy as np
import pytest
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference import load_restorer
from memnet_basicsr.inference.bundled import bundled_networks
from memnet_basicsr.inference.cli import main

hub = pytest.importorskip('huggingface_hub')
from memnet_basicsr.inference.hub import from_pretrained, push_to_hub, save_pretrained  # noqa: E402

IMG = np.random.default_rng(0).integers(0, 256, (12, 14), dtype=np.uint8)
COMMIT = 'c' * 40


class FakeHub(BaseHTTPRequestHandler):
    """As much of the Hub's API as creating, committing and downloading takes."""
    files, requests = {}, []

    def log_message(self, *args):
        pass

    def answer(self, content, status=200, **headers):
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {'Content-Length': len(content), **headers}.items():
            self.send_header(name.replace('_', '-'), str(value))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(content)

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.requests.append((self.path, self.headers.get('Authorization')))
        if self.path == '/api/repos/create':
            self.answer({'url': f'http://{self.headers["Host"]}/me/net', 'name': 'me/net', 'id': 'me/net'})
        elif self.path.endswith('/preupload/main'):
            self.answer({
                'files': [{**v, 'uploadMode': 'regular', 'shouldIgnore': False} for v in json.loads(body)['files']]
            })  # yapf: disable
        elif '/commit/main' in self.path:
            for line in map(json.loads, body.splitlines()):
                if line['key'] == 'file':
                    self.files[line['value']['path']] = base64.b64decode(line['value']['content'])
            self.answer({
                'success': True,
                'commitUrl': f'http://{self.headers["Host"]}/me/net/commit/{COMMIT}',
                'commitOid': COMMIT
            })
        else:
            self.answer({'errors': [], 'warnings': []})  # validation of the card

    def do_GET(self):
        self.requests.append((self.path, self.headers.get('Authorization')))
        name = self.path.rsplit('/', 1)[-1]
        if self.path.startswith('/me/net/resolve/main/') and name in self.files:
            content = self.files[name]
            self.answer(content, X_Repo_Commit=COMMIT, ETag=f'"{hashlib.sha1(content).hexdigest()}"')
        else:
            self.answer({'error': 'Repository not found'}, 404, X_Error_Code='RepoNotFound')

    do_HEAD = do_GET


@pytest.fixture
def endpoint(monkeypatch, tmp_path):
    monkeypatch.setattr(FakeHub, 'files', {})
    monkeypatch.setattr(FakeHub, 'requests', [])
    server = ThreadingHTTPServer(('127.0.0.1', 0), FakeHub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f'http://127.0.0.1:{server.server_port}'
    for module in (hub.constants, hub.file_download.constants):
        monkeypatch.setattr(module, 'ENDPOINT', address)
    monkeypatch.setattr(hub.constants, 'HUGGINGFACE_CO_URL_TEMPLATE',
                        address + '/{repo_id}/resolve/{revision}/{filename}')  # yapf: disable
    monkeypatch.setattr(hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    yield FakeHub
    server.shutdown()
    server.server_close()


def test_local_folder(tmp_path):
    save_pretrained('memnet_denoise', str(tmp_path / 'net'))
    wanted = load_restorer('memnet_denoise', device='cpu')(IMG)
    assert np.array_equal(from_pretrained(str(tmp_path / 'net'), device='cpu')(IMG), wanted)
    card = hub.ModelCard.load(tmp_path / 'net' / 'README.md')
    assert card.data.library_name == 'memnet_basicsr' and card.data.pipeline_tag == 'image-to-image'
    psnr = bundled_networks()['memnet_denoise']['metrics']['BSD68_sigma25_psnr']
    for text in ('MemNet that removes noise', 'noise sigma 0 to 75', f'| BSD68_sigma25_psnr | {psnr:g} |',
                 'distributed for non-commercial research'):  # yapf: disable
        assert text in card.text


def test_push_and_load(endpoint, tmp_path, monkeypatch):
    assert push_to_hub('memnet_denoise', 'me/net', token='hf_x').endswith(f'/me/net/commit/{COMMIT}')
    assert sorted(endpoint.files) == ['README.md', 'model.safetensors']
    assert ('/api/repos/create', 'Bearer hf_x') in endpoint.requests
    assert b'hub:me/net' in endpoint.files['README.md']
    wanted = load_restorer('memnet_denoise', device='cpu')(IMG)
    assert np.array_equal(load_restorer('hub:me/net', device='cpu')(IMG), wanted)
    endpoint.files.clear()
    monkeypatch.setattr(hub.constants, 'HF_HUB_OFFLINE', True)  # the cache
    assert np.array_equal(from_pretrained('me/net', device='cpu')(IMG), wanted)


@pytest.mark.parametrize('name, message', [('me/other', 'Repository Not Found'), ('a/b/c', 'Repo id must')])
def test_what_is_not_there_is_one_line(endpoint, name, message, capsys, tmp_path):
    with pytest.raises(UsageError, match=f'^weights hub:{name}: .*({message})') as error:
        load_restorer(f'hub:{name}')
    assert len(str(error.value).splitlines()) == 1
    (tmp_path / 'a.png').write_bytes(b'')
    assert main(['-i', str(tmp_path / 'a.png'), '-o', str(tmp_path / 'o'), '-w', f'hub:{name}']) == 1
    assert capsys.readouterr().err.startswith(f'memnet-restore: weights hub:{name}: ')
