"""How alike two images are: PSNR and SSIM. numpy only."""

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Planes = NDArray[np.float64]

PEAK = 255.0
WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03  # Wang et al. 2004, section III.B


def psnr(x: Images, recon: Images) -> NDArray[np.float64]:
    """Peak signal-to-noise ratio of each pair of images, in dB.

    Two equal images get what two images get that differ by one level in one value, the best that uint8 images can have
    otherwise, so that averages stay finite.

    Args:
        x, recon: Shape (n, h, w, c), uint8.

    Returns:
        Shape (n,).

    Raises:
        ValueError: If the shapes differ.
    """
    _check_pair(x, recon)
    error = np.square(x.astype(np.float64) - recon.astype(np.float64)).mean(axis=(1, 2, 3))
    least = 1 / np.prod(x.shape[1:])
    return np.asarray(10 * np.log10(PEAK**2 / np.maximum(error, least)), dtype=np.float64)


def ssim(x: Images, recon: Images) -> NDArray[np.float64]:
    """Structural similarity of each pair of images, averaged over the image and its channels: 1 for equal images.

    Gaussian window of 11 pixels with σ = 1.5, only where it fits into the image (the largest odd window that does, for
    images under 11 pixels). Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity",
    2004, https://doi.org/10.1109/TIP.2003.819861.

    Args:
        x, recon: Shape (n, h, w, c), uint8.

    Returns:
        Shape (n,), at most 1.

    Raises:
        ValueError: If the shapes differ.
    """
    _check_pair(x, recon)
    weights = _gaussian_window(min(WINDOW, *x.shape[1:3]))
    a, b = x.astype(np.float64), recon.astype(np.float64)
    mean_a, mean_b = _blur(a, weights), _blur(b, weights)
    var_a = _blur(a * a, weights) - mean_a**2
    var_b = _blur(b * b, weights) - mean_b**2
    covariance = _blur(a * b, weights) - mean_a * mean_b
    c1, c2 = (K1 * PEAK) ** 2, (K2 * PEAK) ** 2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * covariance + c2) / (var_a + var_b + c2)
    return np.asarray((luminance * structure).mean(axis=(1, 2, 3)), dtype=np.float64)


def _check_pair(x: Images, recon: Images) -> None:
    if x.shape != recon.shape or x.ndim != 4:
        raise ValueError(f"images of shapes {x.shape} and {recon.shape}; expected two equal shapes (n, h, w, c)")


def _gaussian_window(size: int) -> NDArray[np.float64]:
    size -= 1 - size % 2  # odd
    offsets = np.arange(size) - size // 2
    weights = np.exp(-0.5 * (offsets / SIGMA) ** 2)
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _blur(images: Planes, weights: NDArray[np.float64]) -> Planes:
    for axis in (1, 2):
        windows = np.lib.stride_tricks.sliding_window_view(images, len(weights), axis=axis)
        images = windows @ weights
    return images
