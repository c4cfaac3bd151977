"""Bounds on a model whose likelihood is known exactly."""

import numpy as np
import pytest

from bundle.pixels import to_graph
from tests.training.evaluation.tiny_graphs import LATENT, SIDE, exact_score, linear_gaussian
from training.evaluation import likelihood
from training.evaluation.likelihood import binarized, exact_log_likelihood, likelihood_bounds, log_weights

IMAGES = np.random.default_rng(0).integers(60, 200, size=(40, SIDE, SIDE, 1), dtype=np.uint8)


def test_bounds_of_the_exact_posterior_are_the_likelihood_for_any_number_of_samples():
    model = linear_gaussian(width=1.0)
    expected = model.log_likelihood(to_graph(IMAGES)).mean()
    for samples in (1, 7):
        bounds = likelihood_bounds(model.score(), IMAGES, None, samples, seed=0)
        assert bounds.elbo.value == pytest.approx(expected, abs=1e-3)
        assert bounds.iwae.value == pytest.approx(expected, abs=1e-3)
        assert bounds.effective_samples.value == pytest.approx(samples, rel=1e-3)


def test_wide_posterior_loses_its_divergence_and_importance_weights_win_it_back():
    model = linear_gaussian(width=1.5)
    exact = model.log_likelihood(to_graph(IMAGES)).mean()
    divergence = LATENT * (0.5 * (1.5**2 - 1) - np.log(1.5))  # KL(q ‖ posterior) of two Gaussians of one mean
    bounds = likelihood_bounds(model.score(), IMAGES, None, 2000, seed=0)
    assert bounds.elbo.value == pytest.approx(exact - divergence, abs=0.05)
    assert bounds.elbo.value < bounds.iwae.value
    assert bounds.iwae.value == pytest.approx(exact, abs=0.01)
    assert 1 < bounds.effective_samples.value < 2000


def test_bound_tightens_with_samples():
    score = linear_gaussian(width=2.0).score()
    values = [likelihood_bounds(score, IMAGES, None, k, seed=0).iwae.value for k in (1, 5, 50)]
    assert values == sorted(values)


def test_weights_do_not_depend_on_how_the_work_is_cut(monkeypatch):
    score = linear_gaussian(width=1.5).score()
    whole = log_weights(score, IMAGES, None, 6, seed=3)
    monkeypatch.setattr(likelihood, "ROWS_PER_RUN", 4)  # fewer rows than samples: images one by one, noise in two parts
    np.testing.assert_allclose(log_weights(score, IMAGES, None, 6, seed=3), whole, rtol=1e-5)
    np.testing.assert_allclose(log_weights(score, IMAGES[:5], None, 6, seed=3), whole[:5], rtol=1e-5)
    assert not np.allclose(log_weights(score, IMAGES, None, 6, seed=4), whole)


def test_error_is_the_standard_error_over_images():
    found = exact_log_likelihood(exact_score(), IMAGES)
    nats = -np.square(to_graph(IMAGES)).sum(axis=(1, 2, 3))
    assert found.value == pytest.approx(nats.mean(), rel=1e-5)
    assert found.error == pytest.approx(nats.std(ddof=1) / np.sqrt(40), rel=1e-5)


def test_one_image_has_no_error_and_is_refused():
    with pytest.raises(ValueError, match="give at least 2"):
        exact_log_likelihood(exact_score(), IMAGES[:1])


def test_binarised_pixels_are_white_as_often_as_they_are_bright():
    grey = np.full((3000, 4, 4, 1), 64, dtype=np.uint8)
    found = binarized(grey, seed=0)
    assert set(np.unique(found)) == {0, 255}
    assert found.mean() / 255 == pytest.approx(64 / 255, abs=0.01)
    assert np.array_equal(binarized(grey[:7], seed=0), found[:7])
    assert not np.array_equal(binarized(grey[:7], seed=1), found[:7])


def test_binarised_black_and_white_stay_as_they_are():
    images = np.array([0, 255, 255, 0], dtype=np.uint8).reshape(1, 2, 2, 1)
    assert np.array_equal(binarized(images, seed=5), images)
