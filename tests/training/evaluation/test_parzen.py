"""The Parzen window against the plain sum, and its two companions."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from training.data.dataset import Dataset, ImageSet
from training.evaluation.kmeans import cached_kmeans_centres, kmeans_centres
from training.evaluation.parzen import parzen_comparison, parzen_log_likelihood, parzen_log_likelihoods


def rows(rng, n, d):
    return rng.uniform(size=(n, d)).astype(np.float32)


def test_log_likelihood_equals_the_mixture_summed_by_hand():
    rng = np.random.default_rng(0)
    centres, points, sigmas = rows(rng, 7, 4), rows(rng, 5, 4), (0.1, 0.5)
    found = parzen_log_likelihoods(centres, points, sigmas)
    for sigma, nats in zip(sigmas, found, strict=True):
        each = [multivariate_normal(centre, sigma**2 * np.eye(4)).logpdf(points) for centre in centres]
        np.testing.assert_allclose(nats, logsumexp(each, axis=0) - np.log(7), rtol=1e-4)


def test_log_likelihood_is_finite_where_every_kernel_underflows():
    centres, points = np.zeros((3, 400), dtype=np.float32), np.ones((2, 400), dtype=np.float32)
    nats = parzen_log_likelihoods(centres, points, [0.01])
    np.testing.assert_allclose(nats, -0.5 * 400 / 0.01**2 - 200 * np.log(2 * np.pi * 0.01**2), rtol=1e-6)


def test_density_of_one_centre_integrates_to_one():
    grid = np.linspace(-4, 5, 2001, dtype=np.float32)[:, None]
    nats = parzen_log_likelihoods(np.array([[0.2], [0.7]], dtype=np.float32), grid, [0.3])
    assert np.trapezoid(np.exp(nats[0]), grid[:, 0]) == pytest.approx(1, abs=1e-4)


def test_width_is_chosen_by_validation_points():
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(2000, 1)).astype(np.float32) * 0.01
    validation, test = (rng.normal(size=(500, 1)).astype(np.float32) * 0.4 for _ in range(2))
    found = parzen_log_likelihood(centres, validation, test, sigmas=(0.04, 0.4, 4.0))
    assert found.sigma == 0.4
    entropy = 0.5 * np.log(2 * np.pi * np.e * 0.4**2)
    assert found.value == pytest.approx(-entropy, abs=5 * found.error)


def test_kmeans_finds_separate_clusters():
    rng = np.random.default_rng(2)
    truth = np.array([[0.0, 0], [10, 0], [0, 10]], dtype=np.float32)
    points = np.concatenate([truth + 0.1 * rng.normal(size=(3, 2)) for _ in range(200)]).astype(np.float32)
    centres = kmeans_centres(points, 30, iterations=10, seed=0)
    nearest = np.linalg.norm(centres[:, None] - truth[None], axis=2).min(axis=1)
    assert nearest.max() < 0.5
    assert len(centres) == 30


def test_kmeans_iteration_moves_centres_to_the_mean_of_their_points():
    points = np.array([[0.0], [1.0], [10.0], [12.0]], dtype=np.float32)
    found = {tuple(np.sort(kmeans_centres(points, 2, iterations=20, seed=s)[:, 0])) for s in range(20)}
    assert (0.5, 11.0) in found


def test_kmeans_with_no_points_left_keeps_its_centre():
    points = np.zeros((4, 2), dtype=np.float32)
    assert kmeans_centres(points, 3, iterations=2, seed=0).tolist() == [[0, 0]] * 3


def test_kmeans_refuses_more_centres_than_points():
    with pytest.raises(ValueError, match="5 centres of 4 points"):
        kmeans_centres(np.zeros((4, 2), dtype=np.float32), 5, iterations=1, seed=0)


def test_kmeans_cache_answers_for_the_same_data_only(tmp_path, monkeypatch):
    points = rows(np.random.default_rng(3), 20, 2)
    first = cached_kmeans_centres(points, 4, 2, 0, "a" * 64, tmp_path)
    monkeypatch.setattr("training.evaluation.kmeans.kmeans_centres", lambda *_: np.zeros((4, 2), dtype=np.float32))
    assert np.array_equal(cached_kmeans_centres(points, 4, 2, 0, "a" * 64, tmp_path), first)
    assert not np.array_equal(cached_kmeans_centres(points, 4, 2, 0, "b" * 64, tmp_path), first)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_samples_never_come_without_kmeans_and_training_images(tmp_path):
    rng = np.random.default_rng(4)
    images = (rng.uniform(size=(260, 8, 8, 1)) * rng.uniform(size=(260, 1, 1, 1)) * 255).astype(np.uint8)
    data = Dataset("blobs", "c" * 64, ImageSet(images[:200]), ImageSet(images[200:]), None, "", "")
    noise = rng.integers(0, 256, size=(50, 8, 8, 1), dtype=np.uint8)
    found = parzen_comparison(noise, data, tmp_path)
    assert found.kmeans.value > found.samples.value
    assert found.train.value > found.samples.value
    assert "Gaussian windows on 50 images" in found.protocol
    assert "33 held-out training images" in found.protocol
