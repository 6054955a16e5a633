import numpy as np
import pytest
import torch
from pathlib import Path

from basicsr.archs import build_network
from memnet_basicsr.errors import UsageError
from memnet_basicsr.inference.memorynet_released import convert_released_checkpoint

VECTORS = Path(__file__).parent.parent / 'data' / 'memorynet_released_small.npz'


@pytest.fixture(scope='module')
def vectors():
    with np.load(VECTORS) as data:
        return {k: torch.from_numpy(data[k]) for k in data.files}


def save(vectors, path, prefix='module.', **changes):
    state = {f'{prefix}{k[6:]}': v for k, v in vectors.items() if k.startswith('param:')}
    for name, value in changes.items():
        state.pop(name) if value is None else state.update({name: value})
    torch.save({'epoch': 3, 'state_dict': state}, path)
    return str(path)


@pytest.mark.parametrize('prefix', ['module.', ''])
def test_gives_a_network_that_reproduces_the_vectors(vectors, tmp_path, prefix):
    options, state = convert_released_checkpoint(save(vectors, tmp_path / 'released.pth', prefix))
    net = build_network(options)
    net.load_state_dict(state, strict=True)
    with torch.no_grad():
        out = net.eval()(vectors['input'].float())
    assert (out - vectors['stage3']).abs().max() < 1e-5


def test_names_what_does_not_fit(vectors, tmp_path):
    with pytest.raises(UsageError, match=r'missing tail\.weight'):
        convert_released_checkpoint(save(vectors, tmp_path / 'a.pth', '', **{'tail.weight': None}))
    with pytest.raises(UsageError, match='unexpected extra'):
        convert_released_checkpoint(save(vectors, tmp_path / 'b.pth', '', extra=torch.zeros(1)))
    with pytest.raises(UsageError, match='is not one of MemoryNet'):
        torch.save({'state_dict': {'x': torch.zeros(1)}}, tmp_path / 'c.pth')
        convert_released_checkpoint(str(tmp_path / 'c.pth'))
