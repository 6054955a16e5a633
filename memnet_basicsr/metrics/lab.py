import numpy as np

# linear sRGB to XYZ; for D50 with Bradford's adaptation, as the color profiles of MATLAB's makecform have it
_TO_XYZ = {
    'D65': ((.4124564, .3575761, .1804375), (.2126729, .7151522, .0721750), (.0193339, .1191920, .9503041)),
    'D50': ((.4360747, .3850649, .1430804), (.2225045, .7168786, .0606169), (.0139322, .0971045, .7141733)),
}


def bgr2lab(img, white='D50'):
    """CIE LAB of an sRGB image, in float64.

    Args:
        img (ndarray): (H, W, 3), BGR, [0, 255]; clipped to that range.
        white (str): White point: ``D50`` (MATLAB's makecform) or ``D65`` (scikit-image, OpenCV). Default: 'D50'.

    Returns:
        ndarray: float64, (H, W, 3): L in [0, 100], a, b.
    """
    rgb = np.clip(img[..., ::-1].astype(np.float64) / 255., 0, 1)
    linear = np.where(rgb <= .04045, rgb / 12.92, ((rgb + .055) / 1.055)**2.4)
    matrix = np.array(_TO_XYZ[white])
    ratio = linear @ (matrix / matrix.sum(axis=1, keepdims=True)).T  # to the white point's X, Y, Z
    f = np.where(ratio > (6 / 29)**3, np.cbrt(ratio), ratio / (3 * (6 / 29)**2) + 4 / 29)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], axis=-1)
