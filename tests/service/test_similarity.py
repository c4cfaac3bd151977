"""PSNR and SSIM against their definitions."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from service.similarity import psnr, ssim
from tests.service.support import picture


def test_equal_images_have_infinite_psnr_and_ssim_of_one() -> None:
    image = picture(16, 16, 3)
    assert psnr(image, image) == math.inf
    assert ssim(image, image) == pytest.approx(1)


def test_psnr_of_an_error_of_one_everywhere_is_known() -> None:
    image = np.full((8, 8, 1), 100, np.uint8)
    assert psnr(image, image + np.uint8(1)) == pytest.approx(20 * math.log10(255))


def test_black_against_white_has_no_decibel_and_next_to_no_structure() -> None:
    black, white = np.zeros((16, 16, 1), np.uint8), np.full((16, 16, 1), 255, np.uint8)
    assert psnr(black, white) == 0
    assert ssim(black, white) < 0.001


def test_ssim_follows_the_formula_with_another_gaussian() -> None:
    x, y = (picture(32, 24, 1, seed)[..., 0].astype(float) for seed in (0, 1))
    y = 0.7 * x + 0.3 * y

    def blur(image: np.ndarray) -> np.ndarray:
        return gaussian_filter(image, 1.5, radius=5)[5:-5, 5:-5]

    y = np.rint(y)
    mx, my = blur(x), blur(y)
    vx, vy, cov = blur(x * x) - mx**2, blur(y * y) - my**2, blur(x * y) - mx * my
    c1, c2 = 2.55**2, 7.65**2
    expected = np.mean((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    found = ssim(x.astype(np.uint8)[..., None], y.astype(np.uint8)[..., None])
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("size", [1, 2, 8, 10])
def test_ssim_of_images_smaller_than_its_window_is_a_number(size: int) -> None:
    assert -1 <= ssim(picture(size, size, 1, 0), picture(size, size, 1, 1)) <= 1
