"""PSNR and SSIM against known values and another way to compute them."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from bundle.similarity import psnr, ssim


def noisy_pair(height, width, channels, n=3):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, size=(n, height, width, channels), dtype=np.uint8)
    noise = rng.integers(-40, 41, size=x.shape)
    return x, np.clip(x + noise, 0, 255).astype(np.uint8)


def test_psnr_of_a_known_error_is_the_formula():
    x = np.zeros((2, 8, 8, 1), dtype=np.uint8)
    recon = np.stack([np.full((8, 8, 1), 255, dtype=np.uint8), np.full((8, 8, 1), 5, dtype=np.uint8)])
    np.testing.assert_allclose(psnr(x, recon), [0, 20 * np.log10(51)])


def test_psnr_of_equal_images_is_finite_and_the_best():
    x, _ = noisy_pair(8, 8, 3)
    off_by_one = x.copy()
    off_by_one[:, 0, 0, 0] ^= 1
    assert np.isfinite(psnr(x, x)).all()
    np.testing.assert_allclose(psnr(x, x), psnr(x, off_by_one))


def test_ssim_of_equal_images_is_one_and_of_negatives_is_negative():
    x, _ = noisy_pair(16, 16, 1)
    np.testing.assert_allclose(ssim(x, x), 1)
    assert (ssim(x, 255 - x) < 0).all()


def test_ssim_of_flat_images_is_the_luminance_term():
    a, b = np.full((1, 12, 12, 1), 100, dtype=np.uint8), np.full((1, 12, 12, 1), 150, dtype=np.uint8)
    c1 = (0.01 * 255) ** 2
    np.testing.assert_allclose(ssim(a, b), (2 * 100 * 150 + c1) / (100**2 + 150**2 + c1))


@pytest.mark.parametrize("shape", [(28, 28, 1), (20, 33, 3)])
def test_ssim_equals_scipy_gaussian_filters(shape):
    x, recon = noisy_pair(*shape)
    found = ssim(x, recon)
    for i in range(len(x)):
        maps = [ssim_map(x[i, :, :, c].astype(float), recon[i, :, :, c].astype(float)) for c in range(shape[2])]
        assert found[i] == pytest.approx(np.mean(maps), rel=1e-9)


def ssim_map(a, b):
    def blur(image):
        return gaussian_filter(image, sigma=1.5, radius=5)[5:-5, 5:-5]

    mean_a, mean_b = blur(a), blur(b)
    va, vb, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    c1, c2 = 2.55**2, 7.65**2
    return (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (va + vb + c2))


def test_images_smaller_than_the_window_get_a_smaller_window():
    x, recon = noisy_pair(8, 10, 1)
    assert (ssim(x, recon) < 1).all()
    np.testing.assert_allclose(ssim(x, x), 1)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_images_of_different_shape_are_refused(measure):
    with pytest.raises(ValueError, match="expected two equal shapes"):
        measure(np.zeros((1, 8, 8, 1), dtype=np.uint8), np.zeros((1, 8, 9, 1), dtype=np.uint8))
