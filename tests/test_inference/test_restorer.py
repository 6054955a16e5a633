import numpy as np
import pytest
import torch
import warnings
from scipy.ndimage import uniform_filter

from basicsr.utils import rgb2ycbcr, ycbcr2rgb
from basicsr.utils.matlab_functions import imresize
from memnet_basicsr.errors import UsageError
from memnet_basicsr.fast import forms
from memnet_basicsr.inference import load_restorer
from memnet_basicsr.inference.color import rgb_to_ycbcr, ycbcr_to_rgb


def image(*shape, dtype=np.float32, seed=0):
    img = np.random.default_rng(seed).random(shape)
    return (img * np.iinfo(dtype).max).astype(dtype) if np.issubdtype(dtype, np.integer) else img.astype(dtype)


def blurred(img):
    """BlurForTests by scipy: 3x3 mean of every channel, edges replicated."""
    size = (3, 3, 1) if img.ndim == 3 else 3
    return uniform_filter(img.astype(np.float64), size, mode='nearest')


@pytest.fixture
def restore(make_weights):
    return load_restorer(make_weights(), device='cpu')


# ---------------------------------------- kinds of images ----------------------------------------


@pytest.mark.parametrize('shape', [(8, 9), (8, 9, 1), (8, 9, 3), (1, 1), (1, 1, 3)])
@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.float16, np.float32, np.float64])
def test_arrays_come_back_as_they_were(restore, shape, dtype):
    img = image(*shape, dtype=dtype)
    before = img.copy()
    out = restore(img)
    assert isinstance(out, np.ndarray) and out.dtype == dtype and out.shape == shape
    want = blurred(img)
    tolerance = {'f': 1e-3 if dtype == np.float16 else 1e-6}.get(out.dtype.kind, 0.51)
    assert np.abs(out.astype(np.float64) - want).max() <= tolerance
    assert np.array_equal(img, before)


@pytest.mark.parametrize('shape', [(8, 9), (3, 8, 9), (1, 8, 9), (2, 3, 8, 9)])
def test_tensors_come_back_as_they_were(restore, shape):
    img = torch.from_numpy(image(*shape))
    out = restore(img)
    assert out.dtype == img.dtype and out.shape == img.shape
    planes = img.reshape(-1, 8, 9).numpy()
    want = np.stack([blurred(v) for v in planes]).reshape(shape)
    assert np.abs(out.numpy() - want).max() < 1e-6
    small = restore((img * 255).to(torch.uint8))
    assert small.dtype == torch.uint8 and small.shape == img.shape


def test_batches_and_lists(restore):
    imgs = image(3, 8, 9, 3, dtype=np.uint8)
    out = restore(imgs)
    assert out.shape == imgs.shape and out.dtype == np.uint8
    listed = restore([imgs[0], imgs[1], image(4, 5)])
    assert np.array_equal(listed[0], out[0]) and np.array_equal(listed[1], out[1]) and listed[2].shape == (4, 5)


def test_views_with_odd_strides_and_read_only_arrays(restore):
    img = image(8, 9, 3, dtype=np.uint8)
    img.flags.writeable = False
    assert np.array_equal(restore(img[::-1, ::-1]), restore(np.ascontiguousarray(img[::-1, ::-1])))


def test_integers_are_clipped_and_floats_are_not(make_weights):
    restore = load_restorer(make_weights(offset=0.5), device='cpu')
    assert restore(np.full((4, 4), 200, np.uint8)).max() == 255
    np.testing.assert_allclose(restore(np.full((4, 4), 0.9)), 1.4, rtol=1e-6)
    # noisy input may exceed [0, 1], too
    np.testing.assert_allclose(restore(np.full((4, 4), -0.2)), 0.3, rtol=1e-6)


@pytest.mark.parametrize('img, message', [
    (np.zeros((4, 4), np.int32), 'int32'),
    (np.zeros((4, 4), bool), 'bool'),
    (np.zeros((3, 4, 4), np.uint8), '3 x 4 x 4'),
    (np.zeros((4, 4, 4), np.uint8), '4 x 4 x 4'),
    (np.zeros((0, 4), np.uint8), '0 x 4'),
    (np.zeros(4, np.uint8), 'images must be'),
    (torch.zeros(4, 4, 3), 'c x h x w'),
    (np.full((4, 4), 128.), 'up to 128.*divide by 255'),
    (np.full((4, 4), np.nan), 'up to nan'),
    ('cat.png', 'not str'),
])
def test_what_is_no_image_is_refused_in_one_line(restore, img, message):
    with pytest.raises(UsageError, match=message) as error:
        restore(img)
    assert '\n' not in str(error.value)


# ---------------------------------------- color ----------------------------------------


def test_ycbcr_is_jpegs():
    cv2 = pytest.importorskip('cv2')
    img = image(5, 6, 3)
    y, chroma = rgb_to_ycbcr(torch.from_numpy(img.transpose(2, 0, 1))[None])
    want = cv2.cvtColor(img, cv2.COLOR_RGB2YCrCb)
    np.testing.assert_allclose(y[0, 0], want[..., 0], atol=1e-5)
    np.testing.assert_allclose(chroma[0, 0], want[..., 2] - 0.5, atol=1e-3)  # OpenCV rounds its factors
    np.testing.assert_allclose(chroma[0, 1], want[..., 1] - 0.5, atol=1e-3)
    np.testing.assert_allclose(ycbcr_to_rgb(y, chroma)[0].numpy().transpose(1, 2, 0), img, atol=1e-6)


@pytest.mark.parametrize('size', [(8, 10), (9, 7)])
def test_jpeg_restores_the_chroma_at_half_the_size(make_weights, size):
    cv2 = pytest.importorskip('cv2')
    img = image(*size, 3)
    out = load_restorer(make_weights('jpeg'), device='cpu')(img)
    (y, chroma), (out_y, out_chroma) = (rgb_to_ycbcr(torch.from_numpy(v.transpose(2, 0, 1))[None]) for v in (img, out))
    np.testing.assert_allclose(out_y[0, 0], blurred(y[0, 0].numpy()), atol=1e-6)
    for before, after in zip(chroma[0].numpy(), out_chroma[0].numpy()):
        even = np.pad(before, [(0, v % 2) for v in size], mode='edge')
        half = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
        change = cv2.resize(blurred(half) - half, even.shape[::-1], interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(after, before + change[:size[0], :size[1]], atol=1e-5)


def test_the_chroma_is_kept_on_request(make_weights):
    img = image(8, 9, 3)
    out = load_restorer(make_weights('jpeg', color='y'), device='cpu')(img)
    tensor = torch.from_numpy(img.transpose(2, 0, 1))[None]
    y, chroma = rgb_to_ycbcr(tensor)
    out_y, out_chroma = rgb_to_ycbcr(torch.from_numpy(out.transpose(2, 0, 1))[None])
    np.testing.assert_allclose(out_y[0, 0], blurred(y[0, 0].numpy()), atol=1e-6)
    np.testing.assert_allclose(out_chroma, chroma, atol=1e-6)


def test_the_description_selects_the_color_mode(make_weights):
    img = image(8, 9, 3)
    out = load_restorer(make_weights('jpeg', color='each'), device='cpu')(img)
    np.testing.assert_allclose(out, blurred(img), atol=1e-6)


def test_a_color_network_restores_gray(make_weights):
    img = image(8, 9)
    out = load_restorer(make_weights('restore', network={'num_in_ch': 3}), device='cpu')(img)
    assert out.shape == (8, 9)
    np.testing.assert_allclose(out, blurred(img), atol=1e-6)


# ---------------------------------------- super-resolution ----------------------------------------


@pytest.mark.parametrize('scale', [2, 3])
def test_sr_enlarges_bicubically_first(make_weights, scale):
    restore = load_restorer(make_weights('sr', scale=[2, 3]), device='cpu')
    img = image(8, 9)
    np.testing.assert_allclose(restore(img, scale), blurred(imresize(img, scale)), atol=1e-6)


def test_sr_of_color_uses_matlabs_luminance(make_weights):
    # an offset shows the range of the luminance: 0.1 of 16..235 is more than 0.1 of 0..255
    restore = load_restorer(make_weights('sr', scale=[2], offset=0.1), device='cpu')
    img = image(8, 9, 3) * 0.5 + 0.2
    large = imresize(img, 2)
    ycbcr = rgb2ycbcr(large)
    ycbcr[..., 0] = blurred(ycbcr[..., 0]) + 0.1
    # the published matrices of both directions agree to about 1e-3
    np.testing.assert_allclose(restore(img), ycbcr2rgb(ycbcr.astype(np.float32)), atol=2e-3)


def test_sr_by_the_network_itself(make_weights):
    restore = load_restorer(make_weights('sr', scale=[2], network={'upscale': 2}), device='cpu')
    img = image(8, 9)
    np.testing.assert_allclose(restore(img), blurred(img).repeat(2, 0).repeat(2, 1), atol=1e-6)
    assert restore(image(8, 9, 3, dtype=np.uint8)).shape == (16, 18, 3)
    with pytest.raises(UsageError, match='one of 2'):
        restore(img, 3)


def test_scale_has_to_make_sense(make_weights, restore):
    sr = load_restorer(make_weights('sr', scale=[2, 3]), device='cpu')
    for scale in (None, 0.5, 9):
        with pytest.raises(UsageError, match='one of 2, 3'):
            sr(image(4, 4), scale)
    assert sr(image(4, 4), 2.5).shape == (10, 10)
    assert sr(image(1, 1, 3), 2).shape == (2, 2, 3)
    with pytest.raises(UsageError, match='for denoise'):
        restore(image(4, 4), 2)


# ---------------------------------------- arguments ----------------------------------------


def test_tile_and_ensemble_and_count_of_forwards(make_weights):
    path = make_weights()
    img = image(40, 50, 3)
    whole = load_restorer(path, device='cpu')
    for options in ({'tile': 16}, {'ensemble': True}, {'tile': 20, 'ensemble': True}, {}):
        restore = load_restorer(path, device='cpu', **options)
        calls = []
        restore.net.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        np.testing.assert_allclose(restore(img), whole(img), atol=1e-6)
        assert len(calls) == restore.forwards(40, 50, 3)
    assert load_restorer(path, device='cpu', precision='bf16')(img).dtype == np.float32


def test_arguments_out_of_range(make_weights):
    path = make_weights()
    for options in ({'tile': 0}, {'precision': 'int8'}, {'device': 'cuda:77'}):
        with pytest.raises(UsageError) as error:
            load_restorer(path, **options)
        assert '\n' not in str(error.value)


def test_local_statistics_of_the_description_are_used(make_weights):
    restore = load_restorer(make_weights('restore', local_statistics=64), device='cpu')
    assert restore.inference.local_statistics == 64


def test_inference_form_is_built_once(make_weights, blur_net, monkeypatch):
    made = []

    def form(net):
        made.append(net)
        return blur_net()

    monkeypatch.setitem(forms.INFERENCE, blur_net, form)
    restore = load_restorer(make_weights(offset=0.5), device='cpu')
    assert restore(np.zeros((4, 4))).max() == 0 and restore(np.zeros((4, 4))).max() == 0
    assert len(made) == 1 and not made[0].training


# ---------------------------------------- strength, range, NaN ----------------------------------------


@pytest.mark.parametrize('dtype', [np.float32, np.uint8])
def test_strength_blends_input_and_output(make_weights, dtype):
    img = image(16, 17, 3, dtype=dtype)
    full, half, none = (load_restorer(make_weights(), device='cpu', strength=v)(img.copy()) for v in (1, 0.25, 0))
    np.testing.assert_array_equal(none, img)
    bound = 0.51 if dtype == np.uint8 else 1e-6
    np.testing.assert_allclose(half, 0.75 * img.astype(float) + 0.25 * blurred(img), atol=bound)
    np.testing.assert_allclose(full, blurred(img), atol=bound)


@pytest.mark.parametrize('upscale', [1, 2])
def test_strength_of_sr_blends_with_the_bicubic_enlargement(make_weights, upscale):
    restore = load_restorer(
        make_weights('sr', scale=[2], network={'upscale': upscale}, offset=0.2), device='cpu', strength=0.5)
    img = image(8, 9)
    large = imresize(img, 2)
    out = (blurred(large) if upscale == 1 else blurred(img).repeat(2, 0).repeat(2, 1)) + 0.2
    np.testing.assert_allclose(restore(img), (large + out) / 2, atol=1e-6)


def test_strength_zero_does_not_run_the_network(make_weights):
    restore = load_restorer(make_weights(offset=1e30), device='cpu', strength=0)
    restore.net.register_forward_hook(lambda *_: pytest.fail('called'))
    assert np.array_equal(restore(image(8, 9)), image(8, 9)) and restore.forwards(8, 9, 1) == 0


def test_strength_is_checked_before_loading():
    with pytest.raises(UsageError, match=r'strength: 1.5 is not a number in \[0, 1\]'):
        load_restorer('nothing', strength=1.5)


def test_noise_outside_the_range_is_warned_about_and_restored(make_weights):
    restore = load_restorer(make_weights(valid_range={'sigma': [0, 20]}), device='cpu')
    assert restore.valid_range == {'sigma': [0, 20]}
    noisy = np.random.default_rng(0).normal(0.5, 40 / 255, (2, 64, 64, 3))
    with pytest.warns(UserWarning, match=r'noise sigma about (39|40|41) is outside the range 0 to 20 of the network'):
        out = restore(noisy)
    np.testing.assert_allclose(out[1], blurred(noisy[1]), atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        restore(noisy * 0.4)
        restore(noisy[0, :8, :8])  # too small for an estimate


def test_output_that_is_not_finite_is_refused(make_weights):
    restore = load_restorer(make_weights(), device='cpu')
    restore.net.offset.fill_(float('nan'))
    with pytest.raises(UsageError, match='the output holds NaN or infinite values'):
        restore(image(4, 4, dtype=np.uint8))
