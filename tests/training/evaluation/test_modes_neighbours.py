"""Modes covered, and nearest training images."""

import numpy as np
import pytest

from training.evaluation.modes import modes
from training.evaluation.neighbours import neighbour_pairs, neighbours


def test_classes_with_too_few_samples_are_not_covered():
    real = np.repeat(np.arange(10), 100)
    fake = np.concatenate([np.zeros(900, dtype=int), np.full(95, 3), np.full(5, 7)])
    found = modes(real, fake)
    assert (found.covered, found.total, found.least_share) == (2, 10, 0.01)  # class 7 has 0.5 %


def test_class_divergence_is_zero_for_equal_histograms_and_known_for_one_class():
    real = np.repeat(np.arange(4), 5000)
    assert modes(real, real).class_kl == pytest.approx(0, abs=1e-12)
    assert modes(real, np.zeros(20000, dtype=int)).class_kl == pytest.approx(np.log(4), abs=0.01)


def test_class_divergence_stays_finite_for_a_class_that_no_real_image_has():
    found = modes(np.array([0, 1] * 50), np.array([0, 2] * 50))
    assert np.isfinite(found.class_kl)
    assert (found.covered, found.total) == (1, 2)


def test_copies_have_ratio_zero_and_fresh_draws_ratio_one():
    rng = np.random.default_rng(0)
    train, test, fresh = (rng.normal(size=(n, 4)).astype(np.float32) for n in (400, 300, 300))
    assert neighbours(train[:50], test, train).ratio == 0
    assert neighbours(fresh, test, train).ratio == pytest.approx(1, abs=0.25)


def test_ratio_is_undefined_where_test_images_are_copies():
    train = np.arange(6, dtype=np.float32)[:, None]
    assert neighbours(train + 0.5, train, train).ratio is None


def test_pairs_show_each_sample_beside_its_nearest_training_image():
    rng = np.random.default_rng(1)
    train = rng.integers(0, 256, size=(30, 8, 8, 3), dtype=np.uint8)
    samples = np.clip(train[[4, 20]].astype(int) + 3, 0, 255).astype(np.uint8)
    pairs = neighbour_pairs(samples, train)
    assert pairs.shape == (2, 2, 8, 8, 3)
    assert np.array_equal(pairs[:, 0], samples)
    assert np.array_equal(pairs[:, 1], train[[4, 20]])
