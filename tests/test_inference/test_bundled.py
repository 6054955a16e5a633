import os
import torch

from memnet_basicsr.inference import bundled_networks
from memnet_basicsr.inference.bundled import overview
from memnet_basicsr.inference.description import describe
from memnet_basicsr.inference.weights import packaged_weights, read_weights, write_weights

OPT = {'network_g': {'type': 'MemNet', 'num_in_ch': 3}}


def test_descriptions_are_those_of_the_files():
    names = [v for v, path in packaged_weights().items() if path.endswith('.pth')]
    assert names and list(bundled_networks()) == names
    for name, description in bundled_networks().items():
        read = read_weights(packaged_weights()[name])[1]
        assert {**read, **description} == read  # reading adds defaults


def test_overview_has_a_line_for_each_network(tmp_path):
    assert overview(str(tmp_path / 'nowhere')) == '' and bundled_networks(str(tmp_path / 'nowhere')) == {}
    params = {'a': torch.ones(2, dtype=torch.bfloat16)}
    write_weights(str(tmp_path / 'noise.pth'), params, describe(OPT, 'denoise', valid_range={'sigma': [0, 75]}))
    write_weights(str(tmp_path / 'sr.pth'), params, describe({'network_g': {'type': 'X'}}, 'sr', scale=[2, 3]))
    lines = [' '.join(v.split()) for v in overview(str(tmp_path)).splitlines()]
    assert lines == ['noise denoise, color, noise sigma 0 to 75', 'sr sr, x2, x3']


def test_nothing_in_a_file_is_executed(tmp_path):

    class Evil:

        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'owned'), )

    torch.save({'params': Evil(), 'memnet_basicsr': describe(OPT, 'denoise')}, tmp_path / 'a.pth')
    (tmp_path / 'b.pth').write_bytes(b'nothing')
    assert bundled_networks(str(tmp_path))['b'] == {}
    assert bundled_networks(str(tmp_path))['a']['task'] == 'denoise' and not (tmp_path / 'owned').exists()
