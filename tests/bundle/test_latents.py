"""Row i of a seed's codes is a function of (prior, seed, i) alone, and stays what it is."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle.errors import LatentError
from bundle.latents import SeededLabels, latents
from bundle.philox import MAX_INDEX, MAX_SEED
from bundle.priors import Categorical, Normal, Prior, Product, Sphere, SwissRoll, Uniform
from tests.bundle.priors import MIXTURE, PRIORS

WINDOWS = [(0, 1), (0, 9), (3, 4), (7, 70)]


@pytest.mark.parametrize("base", [0, 10**6, 2**53 - 100])
@pytest.mark.parametrize(
    "prior", [*PRIORS, Normal(dim=64), Normal(dim=200), Sphere(dim=129)], ids=lambda p: f"{p.kind}-{p.dim}"
)
def test_a_row_is_the_same_alone_and_in_any_window(prior: Prior, base: int) -> None:
    whole = latents(prior, 11, base, 100)
    for offset, n in WINDOWS:
        np.testing.assert_array_equal(latents(prior, 11, base + offset, n), whole[offset : offset + n])
    for i in (0, 8, 99):
        np.testing.assert_array_equal(latents(prior, 11, base + i, 1)[0], whole[i])


@settings(max_examples=60, deadline=None)
@given(
    prior=st.sampled_from(PRIORS),
    seed=st.integers(0, MAX_SEED),
    start=st.integers(0, MAX_INDEX - 40),
    n=st.integers(1, 40),
    data=st.data(),
)
def test_any_window_of_any_seed_agrees_with_its_rows(
    prior: Prior, seed: int, start: int, n: int, data: st.DataObject
) -> None:
    i = data.draw(st.integers(0, n - 1))
    window = latents(prior, seed, start, n)
    np.testing.assert_array_equal(latents(prior, seed, start + i, 1)[0], window[i])


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, MAX_SEED - 1), start=st.integers(0, MAX_INDEX - 1))
def test_neighbouring_seeds_and_images_differ(seed: int, start: int) -> None:
    here = latents(Normal(dim=4), seed, start, 1)
    assert not np.array_equal(here, latents(Normal(dim=4), seed + 1, start, 1))
    assert not np.array_equal(here, latents(Normal(dim=4), seed, start + 1, 1))


def test_a_second_process_draws_the_same_codes() -> None:
    code = (
        "import sys; from bundle.latents import latents; from bundle.priors import Normal;"
        "sys.stdout.buffer.write(latents(Normal(dim=5), 7, 10**6, 33).tobytes())"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert answer.stdout == latents(Normal(dim=5), 7, 10**6, 33).tobytes()


# Written down once. If one of these changes, every image that was ever named by its seed is another image.
PINNED: list[tuple[Prior, int, int, list[float]]] = [
    (Normal(dim=5), 7, 0, [-0.049490895, 0.74222952, 0.65930861, -1.7412941, 1.7142948]),
    (Normal(dim=5), 7, 1000000, [0.47247246, -0.33152941, -1.5716965, 0.47607124, 0.026504602]),
    (Sphere(dim=3), MAX_SEED, 4, [-0.8517099, 0.17173669, -0.49507245]),
    (MIXTURE, 1, MAX_INDEX, [-1.0448805, -0.83163333]),
    (SwissRoll(noise=0.1), 3, 9, [-1.8844508, 1.1670692]),
    (Product(parts=[Normal(dim=1), Uniform(dim=2)]), 0, 1, [-0.60989553, 0.6886369, 0.53878933]),
]


@pytest.mark.parametrize(("prior", "seed", "start", "expected"), PINNED)
def test_codes_are_those_that_were_written_down(prior: Prior, seed: int, start: int, expected: list[float]) -> None:
    np.testing.assert_allclose(latents(prior, seed, start, 1)[0], expected, rtol=1e-6, atol=1e-7)


PINNED_DIGESTS: list[tuple[Prior, int, int, str]] = [
    (Uniform(dim=3), 7, 0, "6a64e62246474f0d9e805321eaf90fd2e60b0a788f4afdc625d9dbcc2fc85831"),
    (
        Uniform(dim=3, low=-2.0, high=5.0),
        7,
        1000000,
        "913973c2dd4c72a525086a74cb157a76dfdcfb12fe979ccc5acf5d1cf6454c38",
    ),
    (Categorical(dim=10), 7, 0, "cc0a7a6742ffc6f3da09e5cd05c2b57032fac6e1eb2fdb8685e7d91042238a45"),
    (Normal(dim=64), 7, 0, "2b33296a9bf8e9bdbeb2b9cdeec9449508857071c72ff3eae7916cc605a11b54"),
]


@pytest.mark.parametrize(("prior", "seed", "start", "expected"), PINNED_DIGESTS)
def test_a_hundred_codes_are_to_the_bit_those_that_were_written_down(
    prior: Prior, seed: int, start: int, expected: str
) -> None:
    assert hashlib.sha256(latents(prior, seed, start, 100).astype("<f4").tobytes()).hexdigest() == expected


@pytest.mark.parametrize("truncation", [float("nan"), float("inf"), -0.1])
def test_truncation_must_be_finite_and_not_negative(truncation: float) -> None:
    with pytest.raises(LatentError, match="expected a finite number of at least 0"):
        latents(Normal(dim=2), 0, 0, 1, truncation=truncation)


def test_labels_need_classes() -> None:
    with pytest.raises(LatentError, match="expected at least 1"):
        SeededLabels(0, 7, 0, 1)
