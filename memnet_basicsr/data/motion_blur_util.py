import cv2
import numpy as np

FINE = 8  # samples of the trajectory per pixel


def motion_kernel(length, angle):
    """Kernel of a camera that moves evenly along a straight line while the shutter is open.

    k(p) = mean over t in [-1/2, 1/2] of hat(p - t * length * (cos angle, -sin angle)), hat(x, y) = max(0, 1 - |x|) *
    max(0, 1 - |y|), which is bilinear interpolation of the moved image. The mean is taken over FINE * length + 1
    points t, the two ends with half weight (trapezoidal rule).

    Args:
        length (float): Blur length in pixels, at least 0 (no blur).
        angle (float): Angle to the x axis in radians; angle and angle + pi are equivalent.

    Returns:
        ndarray: (K, K) float64, K odd, sum 1, symmetric about its middle.
    """
    radius = int(np.ceil(length / 2))
    num = int(np.ceil(FINE * length)) + 1
    t = np.linspace(-.5, .5, num) if num > 1 else np.zeros(1)
    weight = np.ones(num)
    if num > 1:
        weight[[0, -1]] = .5
    grid = np.arange(-radius, radius + 1)
    along_x = np.maximum(0, 1 - np.abs(grid[None] - (t * length * np.cos(angle))[:, None]))
    along_y = np.maximum(0, 1 - np.abs(grid[None] + (t * length * np.sin(angle))[:, None]))
    return np.einsum('t,ty,tx->yx', weight / weight.sum(), along_y, along_x)


def draw_motion(key, seed, min_length, max_length):
    """Draw length and angle of an image's blur uniformly; they depend only on the key and the seed.

    Args:
        key (str): Name of the image.
        seed (int): Seed of the dataset.
        min_length (float): Minimum length in pixels.
        max_length (float): Maximum length in pixels.

    Returns:
        tuple[float, float]: Length in pixels, angle in [0, pi).
    """
    rng = np.random.Generator(np.random.PCG64([seed, *key.encode()]))
    return rng.uniform(min_length, max_length), rng.uniform(0, np.pi)


def blur(img, kernel):
    """Blur an image, in its stored values (gamma-corrected, as most synthetic sets do); mirrored beyond its border.

    Args:
        img (ndarray): uint8, (H, W, C).
        kernel (ndarray): (K, K), symmetric about its middle.

    Returns:
        ndarray: uint8, like ``img``, rounded to the nearest value.
    """
    out = cv2.filter2D(img.astype(np.float64), -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return np.clip(np.rint(out), 0, 255).astype(np.uint8).reshape(img.shape)
