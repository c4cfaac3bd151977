"""How alike two images are: PSNR and SSIM of uint8 images."""

import math

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_PEAK = 255.0
_WINDOW, _SIGMA = 11, 1.5  # Wang et al., section III.B, as is K = (0.01, 0.03)
_C1, _C2 = (0.01 * _PEAK) ** 2, (0.03 * _PEAK) ** 2


def psnr(image: Pixels, other: Pixels) -> float:
    """Peak signal-to-noise ratio in dB of two images (h, w, c); infinite for equal ones."""
    error = float(np.mean(np.square(image.astype(np.float64) - other.astype(np.float64))))
    return math.inf if error == 0 else 10 * math.log10(_PEAK**2 / error)


def ssim(image: Pixels, other: Pixels) -> float:
    """Structural similarity of two images (h, w, c), 1 for equal ones; the mean over pixels and channels.

    Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to structural similarity", 2004,
    https://doi.org/10.1109/TIP.2003.819861: Gaussian window of 11 pixels, only where it fits (a smaller window on
    images that are smaller than that).
    """
    x, y = image.astype(np.float64), other.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + _C1) / (mean_x**2 + mean_y**2 + _C1)
    structure = (2 * covariance + _C2) / (var_x + var_y + _C2)
    return float(np.mean(luminance * structure))


def _blur(x: NDArray[np.float64]) -> NDArray[np.float64]:
    for axis in (0, 1):
        size = min(_WINDOW, x.shape[axis])
        offsets = np.arange(size) - (size - 1) / 2
        weights = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
        windows = np.lib.stride_tricks.sliding_window_view(x, size, axis=axis)
        x = windows @ (weights / weights.sum())
    return x
