import pytest
import torch
from torch.nn import functional as F

from memnet_basicsr.fast import winograd_util
from memnet_basicsr.fast.winograd_util import FastConv3x3


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    monkeypatch.setattr(winograd_util, 'LEAST_PIXELS', 1)
    monkeypatch.setattr(winograd_util, 'MOST_PIXELS', 200)


@pytest.mark.parametrize('shape', [(1, 1, 1), (1, 2, 5), (2, 3, 7), (1, 6, 9), (2, 9, 4), (1, 70, 25), (2, 33, 10)])
@pytest.mark.parametrize('dtype, tol', [(torch.float64, 1e-13), (torch.float32, 2e-5), (torch.bfloat16, 0.1)])
@pytest.mark.parametrize('bias', [False, True])
def test_is_a_convolution(shape, dtype, tol, bias):
    torch.manual_seed(0)
    n, height, width = shape
    weight, bias = torch.randn(9, 12, 3, 3) / 108**0.5, torch.randn(9) if bias else None
    exact = torch.promote_types(dtype, torch.float32)
    conv = FastConv3x3(weight.to(exact), None if bias is None else bias.to(exact)).to(dtype)
    x = torch.randn(n, height, width, 12).to(dtype)
    expected = F.conv2d(x.double().permute(0, 3, 1, 2), conv.weight.double(),
                        None if bias is None else conv.bias.double(), padding=1).permute(0, 2, 3, 1)  # yapf: disable

    def check(out, want):
        assert out.dtype == dtype
        torch.testing.assert_close(out.double(), want, rtol=0, atol=tol)

    check(conv(x), expected)
    if height > 2:
        check(conv.inner(x), expected[:, 1:-1])


def test_rows_are_combined_where_that_is_told(monkeypatch):
    """Half of the multiplications: six kernels of 1x3 for four rows instead of twelve."""
    kernels = []
    conv2d = F.conv2d
    monkeypatch.setattr(F, 'conv2d',
                        lambda x, weight, *a, **k: kernels.append(weight.shape[2:]) or conv2d(x, weight, *a, **k))
    conv = FastConv3x3(torch.randn(5, 5, 3, 3))
    conv.inner(torch.randn(1, 10, 8, 5))
    assert kernels == [(1, 3)] * 6  # over two rows each
    kernels.clear()
    conv.to(torch.bfloat16)(torch.randn(1, 10, 8, 5, dtype=torch.bfloat16))
    assert kernels == [(3, 3)]
