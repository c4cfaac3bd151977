"""Figures on features against values known on paper."""

import numpy as np
import pytest

from training.evaluation.fidelity import frechet_distance, kernel_distance, overlap


def gaussian(rng, n, mean, scale):
    """Rows whose sample mean and covariance are exactly `mean` and diag(scale²)."""
    x = rng.normal(size=(n, len(mean)))
    x -= x.mean(axis=0)
    x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    return x * scale + mean


def test_frechet_distance_between_diagonal_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    real = gaussian(rng, 500, np.array([0.0, 1.0, 2.0]), np.array([1.0, 2.0, 0.5]))
    fake = gaussian(rng, 400, np.array([1.0, 1.0, 0.0]), np.array([3.0, 1.0, 0.5]))
    expected = (1 + 0 + 4) + (4 + 1 + 0)  # |m1 - m2|² + Σ (s1 - s2)²
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_equals_the_general_matrix_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(1)
    real, fake = (
        rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)),
        rng.normal(size=(300, 6)) @ rng.normal(size=(6, 6)),
    )
    c1, c2 = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    shift = np.square(real.mean(axis=0) - fake.mean(axis=0)).sum()
    expected = shift + np.trace(c1 + c2 - 2 * np.real(sqrtm(c1 @ c2)))
    assert frechet_distance(real, fake) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_of_a_set_to_itself_is_zero_even_where_features_are_dead():
    x = np.random.default_rng(2).normal(size=(50, 8)).astype(np.float32)
    x[:, 3:] = 0
    assert frechet_distance(x, x) == pytest.approx(0, abs=1e-6)


def test_kernel_distance_is_unbiased_for_equal_distributions():
    rng = np.random.default_rng(3)
    values = [kernel_distance(rng.normal(size=(60, 4)), rng.normal(size=(60, 4)), blocks=3).value for _ in range(300)]
    standard_error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * standard_error
    assert min(values) < 0  # a biased estimate never is


def test_kernel_distance_equals_the_sum_over_pairs():
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 3)) + 1

    def mmd(a, b):
        k = lambda u, v: (u @ v / 3 + 1) ** 3  # noqa: E731
        n = len(a)
        within = [k(s[i], s[j]) for s in (a, b) for i in range(n) for j in range(n) if i != j]
        return sum(within) / (n * (n - 1)) - 2 * sum(k(u, v) for u in a for v in b) / n**2

    expected = (mmd(x[:3], y[:3]) + mmd(x[3:], y[3:])) / 2
    assert kernel_distance(x, y, blocks=2).value == pytest.approx(expected)


def test_kernel_distance_sees_a_shift_by_many_error_bars():
    rng = np.random.default_rng(5)
    found = kernel_distance(rng.normal(size=(500, 4)), rng.normal(size=(500, 4)) + 1)
    assert found.value > 5 * found.error > 0


def test_kernel_distance_refuses_blocks_of_one_row():
    with pytest.raises(ValueError, match="15 and 30 rows in 10 blocks"):
        kernel_distance(np.zeros((15, 2)), np.zeros((30, 2)))


def test_collapsed_samples_are_precise_but_recall_and_cover_little():
    rng = np.random.default_rng(6)
    real = np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 50])
    fake = rng.normal(size=(200, 2)) * 0.5  # one of two modes
    found = overlap(real, fake)
    assert found.precision > 0.95
    assert found.recall < 0.5
    assert found.coverage <= 0.5
    assert found.density > 1


def test_far_samples_score_nothing():
    rng = np.random.default_rng(7)
    found = overlap(rng.normal(size=(50, 2)), rng.normal(size=(60, 2)) + 100)
    assert vars(found) == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}


def test_a_set_against_itself_is_perfect():
    x = np.random.default_rng(8).normal(size=(60, 3))
    found = overlap(x, x)
    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)


def test_overlap_equals_its_definition_by_brute_force():
    rng = np.random.default_rng(9)
    real, fake = rng.normal(size=(40, 2)), rng.normal(size=(30, 2)) + 1

    def radii(points, k):
        return np.sort(np.linalg.norm(points[:, None] - points[None], axis=2), axis=1)[:, k]

    between = np.linalg.norm(fake[:, None] - real[None], axis=2)
    found = overlap(real, fake)
    assert found.precision == np.mean((between <= radii(real, 3)).any(axis=1))
    assert found.recall == np.mean((between <= radii(fake, 3)[:, None]).any(axis=0))
    assert found.density == pytest.approx((between <= radii(real, 5)).sum() / (5 * 30))
    assert found.coverage == np.mean((between <= radii(real, 5)).any(axis=0))


def test_overlap_refuses_sets_smaller_than_the_neighbourhood():
    with pytest.raises(ValueError, match="expected more than"):
        overlap(np.zeros((5, 2)), np.zeros((50, 2)))
