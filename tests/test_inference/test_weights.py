import json
import numpy as np
import os
import pytest
import safetensors.torch
import socket
import threading
import torch
import zipfile
from functools import partial
from http.server import HTTPServer, SimpleHTTPRequestHandler

from basicsr.models.base_model import BaseModel
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference import weights as weights_module
from memnet_basicsr.inference.description import check_description, describe
from memnet_basicsr.inference.weights import find_weights, load_network, packaged_weights, read_weights, write_weights

OPT = {'name': 'train_Blur', 'network_g': {'type': 'BlurForTests'}}


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_file_needs_no_option_file(make_weights, suffix, blur_net):
    path = make_weights(suffix=suffix, offset=0.25, metrics={'psnr': np.float64(28.5)}, note='terms')
    net, description = load_network(path)
    assert isinstance(net, blur_net) and not net.training and net.offset.item() == 0.25
    assert description['network_g'] == {'type': 'BlurForTests'}
    assert (description['task'], description['color'], description['note']) == ('denoise', 'each', 'terms')
    assert description['metrics'] == {'psnr': 28.5} and type(description['metrics']['psnr']) is float


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_averaged_parameters_are_preferred(make_weights, suffix):
    net, _ = load_network(make_weights(suffix=suffix, offset=0.25, ema_offset=0.5))
    assert net.offset.item() == 0.5


def test_file_loads_through_stock_load_network(make_weights, blur_net):
    path = make_weights(offset=0.25, ema_offset=0.5)
    for key, want in (('params', 0.25), ('params_ema', 0.5)):
        net = blur_net()
        BaseModel({'num_gpu': 0, 'is_train': False}).load_network(net, path, True, key)
        assert net.offset.item() == want


def test_prefix_of_data_parallel_is_dropped(tmp_path, blur_net):
    params = {f'module.{k}': v for k, v in blur_net().state_dict().items()}
    write_weights(str(tmp_path / 'a.pth'), params, describe(OPT, 'denoise'))
    assert load_network(str(tmp_path / 'a.pth'))[0]


def test_nothing_in_a_file_is_executed(tmp_path):

    class Evil:

        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'owned'), )

    torch.save({'params': {}, 'memnet_basicsr': Evil()}, tmp_path / 'a.pth')
    with pytest.raises(UsageError, match='more than tensors'):
        read_weights(str(tmp_path / 'a.pth'))
    assert not (tmp_path / 'owned').exists()


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
@pytest.mark.parametrize('damage', ['empty', 'cut', 'text'])
def test_damaged_files_in_one_line(make_weights, suffix, damage):
    path = make_weights(suffix=suffix)
    with open(path, 'rb') as f:
        content = f.read()
    with open(path, 'wb') as f:
        f.write({'empty': b'', 'cut': content[:len(content) // 2], 'text': b'hello world, no weights'}[damage])
    with pytest.raises(UsageError) as error:
        load_network(path)
    assert path in str(error.value) and 'damaged' in str(error.value) and '\n' not in str(error.value)


def test_files_without_description_or_parameters(tmp_path, make_weights, blur_net):
    path = str(tmp_path / 'a.pth')
    torch.save({'params': blur_net().state_dict()}, path)
    with pytest.raises(UsageError, match=r'carries no description.*package_weights'):
        load_network(path)
    torch.save([1, 2], path)
    with pytest.raises(UsageError, match='holds a list instead of a dictionary'):
        load_network(path)
    for content, message in (({}, 'has no params_ema or params; its keys: none'), ({
            'state_dict': 1
    }, 'its keys: state_dict'), ({
            'params': {
                'a': 1
            }
    }, 'is not a state dict'), ({
            'params': {}
    }, 'is not a state dict')):
        torch.save(content, path)
        with pytest.raises(UsageError, match=message):
            load_network(path)


@pytest.mark.parametrize('change, message', [
    ({
        'network_g': {
            'type': 'Nowhere'
        }
    }, 'Nowhere.*not registered'),
    ({
        'network_g': {
            'type': 'BlurForTests',
            'width': 3
        }
    }, 'width'),
    ({
        'network_g': {
            'type': 'BlurForTests',
            'num_in_ch': 3
        }
    }, r'does not fit BlurForTests.*shape of mean.weight \(1, 1, 3, 3\) instead of \(3, 1, 3, 3\)'),
    ({
        'network_g': {}
    }, 'needs network_g'),
    ({
        'task': 'paint'
    }, 'paint'),
    ({
        'task': 'sr'
    }, 'factors'),
    ({
        'colors': 'y'
    }, 'unknown keys: colors'),
])
def test_descriptions_that_do_not_fit(make_weights, change, message):
    path = make_weights()
    content = torch.load(path, weights_only=True)
    content['memnet_basicsr'].update(change)
    torch.save(content, path)
    with pytest.raises(UsageError, match=message) as error:
        load_network(path)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_every_flipped_byte_is_found(make_weights, suffix):
    path = make_weights(suffix=suffix, offset=0.25)
    with open(path, 'rb') as f:
        content = f.read()
    intact = read_weights(path)
    for position in range(0, len(content), 7):
        with open(path, 'wb') as f:
            f.write(content[:position] + bytes([content[position] ^ 0x10]) + content[position + 1:])
        try:
            params, description = read_weights(path)
        except UsageError as error:
            assert path in str(error) and '\n' not in str(error)
            continue
        # padding and dates of the archive
        assert description == intact[1] and params.keys() == intact[0].keys()
        assert all(torch.equal(v, intact[0][k]) for k, v in params.items())


def nested(depth):
    return [nested(depth - 1)] if depth else 0


@pytest.mark.parametrize('network, message', [
    ({
        'type': 'SpyNet'
    }, "type: SpyNet, but of BasicSR's networks a weights file may only name EDSR"),
    ({
        'type': 'MemoryAugmented',
        'backbone': {
            'type': 'SpyNet'
        }
    }, 'backbone: type: SpyNet'),
    ({
        'type': 'BlurForTests',
        'load_path': '/etc/passwd'
    }, 'load_path, but a weights file may not name other files'),
    ({
        'type': 'BlurForTests',
        'num_in_ch': 10**9
    }, r'num_in_ch: 1000000000, which is not within'),
    ({
        'type': 'BlurForTests',
        'num_in_ch': float('nan')
    }, 'nan, which is not within'),
    ({
        'type': 'BlurForTests',
        'num_in_ch': nested(20)
    }, '6 levels'),
    ({
        'type': 'BlurForTests',
        'num_in_ch': [0] * 1000
    }, 'more than 500 values'),
    ({
        'type': 'BlurForTests',
        'mode': 'x' * 101
    }, 'more than 100 characters'),
    ({
        'type': ['BlurForTests']
    }, 'use the name of a network'),
    (None, 'needs network_g'),
])
def test_descriptions_of_strangers(network, message):
    with pytest.raises(UsageError, match=message) as error:
        check_description({'network_g': network, 'task': 'denoise'}, 'it')
    assert '\n' not in str(error.value)


def test_networks_much_larger_than_their_parameters_are_not_built(make_weights):
    path = make_weights()
    content = torch.load(path, weights_only=True)
    mask = {'type': 'SwinIR', 'embed_dim': 4, 'depths': [2], 'num_heads': [1], 'window_size': 8, 'img_size': 256}
    for network in ({'type': 'MemNet', 'num_feat': 1000}, {'type': 'MemNet', 'num_feat': 1, 'num_block': 1000}, mask):
        content['memnet_basicsr']['network_g'] = network
        torch.save(content, path)
        with pytest.raises(UsageError, match='make a network that is much larger'):
            load_network(path)


@pytest.mark.parametrize('change, message', [
    (torch.Tensor.to_sparse, 'is not a plain tensor'),
    (lambda v: v.to('meta'), 'is not a plain tensor'),
    (lambda v: v.to(torch.float8_e4m3fn), 'is not a plain tensor'),
    (lambda v: torch.quantize_per_tensor(v, 0.1, 0, torch.qint8), 'is not a plain tensor'),
    (lambda v: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]), 'is not a plain tensor'),
    (lambda v: torch.zeros(1).expand(10**12), 'its tensors are much larger than the file'),
])
@pytest.mark.filterwarnings('ignore')
def test_tensors_of_other_kinds_are_refused(make_weights, change, message):
    path = make_weights()
    content = torch.load(path, weights_only=True)
    name = next(iter(content['params']))
    content['params'][name] = change(content['params'][name])
    torch.save(content, path)
    with pytest.raises(UsageError, match=message):
        load_network(path)


def test_safetensors_of_other_types_are_refused(make_weights):
    path = make_weights(suffix='.safetensors')
    params, description = read_weights(path)
    params = {k: v.to(torch.float8_e4m3fn) for k, v in params.items()}
    safetensors.torch.save_file(params, path, {'memnet_basicsr': json.dumps(description)})
    with pytest.raises(UsageError, match='is not a plain tensor'):
        load_network(path)


def test_compressed_records_are_refused(make_weights, tmp_path):
    """Ten megabytes can hold ten gigabytes of zeros."""
    with zipfile.ZipFile(make_weights()) as source, \
            zipfile.ZipFile(tmp_path / 'a.pth', 'w', zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            target.writestr(name, source.read(name))
    with pytest.raises(UsageError, match='holds compressed records'):
        load_network(str(tmp_path / 'a.pth'))


def test_parameters_that_are_not_finite_are_refused(make_weights):
    with pytest.raises(UsageError, match='offset holds NaN or infinite values'):
        load_network(make_weights(offset=float('inf')))


@pytest.mark.parametrize('valid_range, message', [
    ({
        'sigma': [75, 0]
    }, 'must ascend'),
    ({
        'sigma': [0, 300]
    }, r'within \[0, 255\]'),
    ({
        'quality': [0, 98]
    }, r'within \[1, 100\]'),
    ({
        'sigmas': [0, 75]
    }, 'closest match: sigma'),
    ({
        'sigma': 75
    }, 'lowest, highest'),
    ({
        'sigma': [0, True]
    }, 'lowest, highest'),
    ([0, 75], 'lowest, highest'),
    ({}, 'lowest, highest'),
])
def test_ranges_that_are_not_usable(valid_range, message):
    with pytest.raises(UsageError, match=message) as error:
        describe(OPT, 'denoise', valid_range=valid_range)
    assert '\n' not in str(error.value)


def test_description_holds_plain_values():
    description = describe({
        'name': 'a',
        'network_g': {
            'type': 'X',
            'upscale': 2
        }
    },
                           'sr',
                           scale=(2, ),
                           metrics={'x': torch.tensor(1.5)})
    assert description == json.loads(json.dumps(description))
    assert description['scale'] == [2] and description['upscaled_by'] == 'network' and description['color'] == 'y'
    assert describe(OPT, 'sr', scale=[2, 3])['upscaled_by'] == 'bicubic'
    with pytest.raises(UsageError):
        check_description({'network_g': {'type': 'X'}, 'task': 'denoise', 'note': open}, 'it')


def test_a_failed_write_keeps_the_old_file(make_weights, monkeypatch, tmp_path):
    path = make_weights(offset=0.25)
    before = sorted(os.listdir(tmp_path))

    def full(*args):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space'):
        make_weights(offset=0.5)
    assert load_network(path)[0].offset.item() == 0.25
    assert sorted(os.listdir(tmp_path)) == before


def test_packaged_names(monkeypatch, tmp_path, make_weights):
    folder = tmp_path / 'weights'
    monkeypatch.setattr(weights_module, 'PACKAGED', str(folder))
    assert packaged_weights() == {}
    with pytest.raises(UsageError, match='bundled are: none'):
        find_weights('memnet_denoise')
    folder.mkdir()
    for name in ('memnet_denoise.pth', 'memnet_sr.safetensors', 'README.md'):
        os.link(make_weights(), folder / name)
    assert list(packaged_weights()) == ['memnet_denoise', 'memnet_sr']
    assert find_weights('memnet_denoise') == str(folder / 'memnet_denoise.pth')
    with pytest.raises(UsageError, match=r'memnet_denoise, memnet_sr; closest match: memnet_denoise') as error:
        find_weights('memnet_denoize')
    assert '\n' not in str(error.value)


def test_address_is_downloaded_once_and_offline_is_one_line(make_weights, monkeypatch, tmp_path):
    make_weights(offset=0.25)
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))

    class Quiet(SimpleHTTPRequestHandler):
        log_message = lambda *args: None  # noqa: E731

    server = HTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    address = f'http://127.0.0.1:{server.server_port}/weights_denoise.pth'
    with pytest.raises(UsageError, match=r'cannot be downloaded to .*weights_nothing.pth .File not found'):
        find_weights(address.replace('denoise', 'nothing'))
    path = find_weights(address)
    server.shutdown()
    server.server_close()
    thread.join()
    assert find_weights(address) == path  # the server is down: from the cache
    assert load_network(address)[0].offset.item() == 0.25

    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    with pytest.raises(UsageError, match='cannot be downloaded') as error:
        find_weights(f'http://127.0.0.1:{port}/a.pth')
    assert '\n' not in str(error.value)
