"""Each prior: its moments, its shape, its fixed number of draws, its truncation, its JSON."""

import json
import warnings

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError
from scipy import stats

from bundle.errors import PriorError
from bundle.latents import latents
from bundle.philox import uniforms
from bundle.priors import Categorical, Mixture, Normal, Prior, Product, Sphere, SwissRoll, Uniform
from tests.bundle.priors import MIXTURE, PRIORS

N = 40_000
ADAPTER: TypeAdapter[Prior] = TypeAdapter(Prior)
each_prior = pytest.mark.parametrize("prior", PRIORS, ids=lambda p: f"{p.kind}-{p.dim}")


@each_prior
def test_codes_have_the_prior_s_shape_and_type(prior: Prior) -> None:
    for n in (0, 1, 5):
        z = prior.transform(uniforms(1, 0, n, prior.draws))
        assert z.shape == (n, prior.dim)
        assert z.dtype == np.float32


@each_prior
def test_codes_are_finite_at_both_ends_of_the_uniform_numbers(prior: Prior) -> None:
    ends = np.full((2, prior.draws), np.nextafter(0.0, 1.0))
    ends[1] = 1 - 2.0**-53
    assert np.isfinite(prior.transform(ends)).all()


@pytest.mark.parametrize("prior", [prior for prior in PRIORS if prior != Sphere(dim=2)], ids=str)
def test_no_draw_is_wasted(prior: Prior) -> None:
    u = uniforms(2, 0, 50, prior.draws)
    for column in range(prior.draws):
        changed = u.copy()
        changed[:, column] = (changed[:, column] + 0.37) % 1
        assert not np.array_equal(prior.transform(changed), prior.transform(u)), f"draw {column} changes nothing"


@each_prior
def test_json_round_trip_gives_the_same_prior_and_codes(prior: Prior) -> None:
    read = ADAPTER.validate_python(json.loads(json.dumps(prior.model_dump(mode="json"))))
    assert read == prior
    np.testing.assert_array_equal(latents(read, 3, 0, 4), latents(prior, 3, 0, 4))


def test_normal_codes_are_standard_normal() -> None:
    z = latents(Normal(dim=5), 0, 0, N)
    np.testing.assert_allclose(z.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(z.T), np.eye(5), atol=0.04)
    for column in z.T:
        assert stats.kstest(column, "norm").pvalue > 1e-4


def test_uniform_codes_fill_the_cube() -> None:
    z = latents(Uniform(dim=3, low=-2.0, high=5.0), 0, 0, N)
    for column in z.T:
        assert stats.kstest(column, "uniform", args=(-2, 7)).pvalue > 1e-4
    np.testing.assert_allclose(np.corrcoef(z.T), np.eye(3), atol=0.03)


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_sphere_codes_have_norm_one_and_no_preferred_direction(dim: int) -> None:
    z = latents(Sphere(dim=dim), 0, 0, N)
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(z.mean(0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(z.T), np.eye(dim) / dim, atol=0.02)


def test_mixture_components_have_their_weight_mean_and_covariance() -> None:
    u = uniforms(0, 0, N, MIXTURE.draws)
    z = MIXTURE.transform(u)
    component = np.searchsorted(np.cumsum(MIXTURE.weights), u[:, 0], side="right")
    for k, (weight, mean, scale) in enumerate(zip(MIXTURE.weights, MIXTURE.means, MIXTURE.scale_tril, strict=True)):
        own = z[component == k]
        assert len(own) / N == pytest.approx(weight, abs=0.01)
        np.testing.assert_allclose(own.mean(0), mean, atol=0.08)
        np.testing.assert_allclose(np.cov(own.T), np.asarray(scale) @ np.asarray(scale).T, atol=0.12)


def test_mixture_covariance_is_within_plus_between_components() -> None:
    z = latents(MIXTURE, 1, 0, N)
    weights, means, scale = (np.asarray(a) for a in (MIXTURE.weights, MIXTURE.means, MIXTURE.scale_tril))
    mean = weights @ means
    within = np.einsum("k,kij,klj->il", weights, scale, scale)
    between = np.einsum("k,ki,kj->ij", weights, means - mean, means - mean)
    np.testing.assert_allclose(z.mean(0), mean, atol=0.08)
    np.testing.assert_allclose(np.cov(z.T), within + between, atol=0.3)


def test_swiss_roll_without_noise_lies_on_the_spiral() -> None:
    roll = SwissRoll(scale=3.0, turns=2.0)
    z = latents(roll, 0, 0, 5_000).astype(np.float64)
    radius = np.linalg.norm(z, axis=1)
    angle = radius / roll.scale * roll.turns * 2 * np.pi
    np.testing.assert_allclose(z, radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1), atol=1e-5)
    assert radius.max() <= roll.scale + 1e-6
    assert stats.kstest((radius / roll.scale) ** 2, "uniform").pvalue > 1e-4


def test_swiss_roll_noise_has_the_given_size() -> None:
    u = uniforms(0, 0, N, 3)
    noise = SwissRoll(noise=0.25).transform(u) - SwissRoll().transform(u)
    np.testing.assert_allclose(np.cov(noise.T), np.eye(2) * 0.25**2, atol=0.003)


@pytest.mark.parametrize("probabilities", [None, [0.5, 0.0, 0.3, 0.2]])
def test_categorical_codes_are_one_hot_with_the_given_frequencies(probabilities: list[float] | None) -> None:
    z = latents(Categorical(dim=4, probabilities=probabilities), 0, 0, N)
    assert set(np.unique(z)) == {0.0, 1.0}
    assert (z.sum(1) == 1).all()
    np.testing.assert_allclose(z.mean(0), probabilities or [0.25] * 4, atol=0.01)


@pytest.mark.parametrize("probabilities", [[0.0, 1.0], [1.0, 0.0]])
def test_a_category_of_probability_zero_never_comes_not_even_at_the_ends(probabilities: list[float]) -> None:
    ends = np.array([[0.0], [1 - 2.0**-53]])
    z = Categorical(dim=2, probabilities=probabilities).transform(ends)
    np.testing.assert_array_equal(z, [probabilities] * 2)


def test_product_is_its_parts_side_by_side_on_their_own_draws() -> None:
    parts: list[Prior] = [Normal(dim=3), Categorical(dim=4), Uniform(dim=2)]
    product = Product(parts=parts)
    assert (product.dim, product.draws) == (9, 4 + 1 + 2)
    u = uniforms(4, 0, 6, 7)
    expected = [parts[0].transform(u[:, :4]), parts[1].transform(u[:, 4:5]), parts[2].transform(u[:, 5:])]
    np.testing.assert_array_equal(product.transform(u), np.concatenate(expected, axis=1))


@each_prior
def test_truncation_of_one_is_off(prior: Prior) -> None:
    np.testing.assert_array_equal(latents(prior, 1, 0, 5, truncation=1), latents(prior, 1, 0, 5))


@pytest.mark.parametrize(
    ("prior", "centre"),
    [
        (Normal(dim=2), [0, 0]),
        (Uniform(dim=2, low=1.0, high=5.0), [3, 3]),
        (MIXTURE, np.asarray(MIXTURE.weights) @ np.asarray(MIXTURE.means)),
    ],
)
def test_truncation_pulls_towards_the_centre(prior: Prior, centre: list[float]) -> None:
    z = latents(prior, 1, 0, 20)
    half = latents(prior, 1, 0, 20, truncation=0.5)
    np.testing.assert_allclose(half - centre, 0.5 * (z - np.asarray(centre)), atol=1e-5)
    np.testing.assert_allclose(latents(prior, 1, 0, 20, truncation=0), np.tile(centre, (20, 1)), atol=1e-6)


def test_truncation_centre_does_not_depend_on_the_rounding_of_the_weights() -> None:
    rounded = Mixture(weights=[0.50004, 0.50004], means=[[1000.0], [1000.0]], scale_tril=[[[1.0]], [[1.0]]])
    np.testing.assert_allclose(latents(rounded, 0, 0, 3, truncation=0), 1000, atol=1e-3)


@pytest.mark.parametrize("prior", [Sphere(dim=3), SwissRoll(), Categorical(dim=2)])
def test_priors_without_a_centre_refuse_truncation(prior: Prior) -> None:
    with pytest.raises(PriorError, match="cannot be truncated; leave it at 1"):
        latents(prior, 0, 0, 2, truncation=0.7)
    with pytest.raises(PriorError, match="cannot be truncated"):
        latents(Product(parts=[Normal(dim=1), prior]), 0, 0, 2, truncation=0.7)


@pytest.mark.parametrize(
    "bad",
    [
        {"kind": "normal"},
        {"kind": "normal", "dim": 0},
        {"kind": "normal", "dim": 2, "mean": 1},
        {"kind": "gumbel", "dim": 2},
        {"dim": 2},
        {"kind": "uniform", "dim": 2, "low": 1.0, "high": 1.0},
        {"kind": "uniform", "dim": 2, "low": float("-inf")},
        {"kind": "sphere", "dim": 1},
        {"kind": "mixture", "weights": [], "means": [], "scale_tril": []},
        {"kind": "mixture", "weights": [0.5, 0.4], "means": [[0], [1]], "scale_tril": [[[1]], [[1]]]},
        {"kind": "mixture", "weights": [1.5, -0.5], "means": [[0], [1]], "scale_tril": [[[1]], [[1]]]},
        {"kind": "mixture", "weights": [1.0], "means": [[0, 0]], "scale_tril": [[[1, 0]]]},
        {"kind": "mixture", "weights": [1.0], "means": [[0, float("nan")]], "scale_tril": [[[1, 0], [0, 1]]]},
        {"kind": "mixture", "weights": [0.5, 0.5], "means": [[0, 0], [1]], "scale_tril": [[[1]], [[1]]]},
        {"kind": "mixture", "weights": [1.0], "means": [[]], "scale_tril": [[]]},
        {"kind": "swiss_roll", "scale": 0},
        {"kind": "swiss_roll", "turns": float("inf")},
        {"kind": "swiss_roll", "noise": -1},
        {"kind": "categorical", "dim": 1},
        {"kind": "categorical", "dim": 2, "probabilities": [1.0]},
        {"kind": "categorical", "dim": 2, "probabilities": [0.5, 0.6]},
        {"kind": "product", "parts": []},
        {"kind": "product", "parts": [{"kind": "normal", "dim": -1}]},
    ],
    ids=str,
)
def test_parameters_that_make_no_sense_are_refused(bad: dict[str, object]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValidationError):
            ADAPTER.validate_python(bad)
