"""Properties of the ways between codes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bundle.errors import LatentError
from service.interpolation import Latent, Method, lerp, path, slerp
from tests.service.support import Client

codes = arrays(np.float32, 5, elements=st.floats(-100, 100, width=32))
weights = st.floats(0, 1)
METHODS: list[Method] = ["slerp", "lerp"]


def unit(*values: float) -> Latent:
    code = np.asarray(values, dtype=np.float32)
    return np.asarray(code / np.linalg.norm(code), dtype=np.float32)


@given(codes, codes, weights)
def test_slerp_is_finite_or_refused(start: Latent, end: Latent, weight: float) -> None:
    try:
        assert np.isfinite(slerp(start, end, weight)).all()
    except LatentError:
        assert not start.any() or not end.any()


@given(codes, codes)
def test_both_methods_meet_their_ends(start: Latent, end: Latent) -> None:
    start[0], end[0] = 1, 2  # no zero codes
    for between in (slerp, lerp):
        np.testing.assert_allclose(between(start, end, 0), start, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(between(start, end, 1), end, rtol=1e-4, atol=1e-4)


@given(weights)
def test_slerp_stays_on_the_sphere_at_an_even_angle(weight: float) -> None:
    start, end = unit(1, 0, 0), unit(0, 3, 4)
    point = slerp(start, end, weight)
    assert np.linalg.norm(point) == pytest.approx(1, abs=1e-5)
    assert np.arctan2(np.linalg.norm(point - point[0] * start), point[0]) == pytest.approx(weight * np.pi / 2, abs=1e-4)


def test_lerp_cuts_inside_the_sphere() -> None:
    assert np.linalg.norm(lerp(unit(1, 0), unit(0, 1), 0.5)) == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize("factor", [1.0, 3.0, -1.0, -2.0])
def test_parallel_and_opposite_codes_go_straight(factor: float) -> None:
    start = unit(1, 2, 3)
    end = np.asarray(start * factor, dtype=np.float32)
    np.testing.assert_allclose(slerp(start, end, 0.3), lerp(start, end, 0.3), atol=1e-6)


def test_zero_code_is_refused_by_slerp_and_fine_for_lerp() -> None:
    zero, other = np.zeros(3, np.float32), unit(1, 2, 3)
    with pytest.raises(LatentError, match="zeros"):
        slerp(zero, other, 0.5)
    np.testing.assert_allclose(lerp(zero, other, 0.5), other / 2)


def test_codes_of_different_sizes_are_refused() -> None:
    with pytest.raises(LatentError, match=r"\(2,\) and \(3,\)"):
        lerp(unit(1, 2), unit(1, 2, 3), 0.5)


@pytest.mark.parametrize("method", METHODS)
@given(st.integers(2, 5), st.integers(2, 40), st.integers(0, 99))
def test_path_begins_and_ends_exactly_at_its_waypoints(method: Method, k: int, steps: int, seed: int) -> None:
    waypoints = np.random.default_rng(seed).normal(size=(k, 6)).astype(np.float32)
    frames = path(waypoints, steps, method, loop=False)
    assert frames.shape == (steps, 6)
    np.testing.assert_array_equal(frames[0], waypoints[0])
    np.testing.assert_array_equal(frames[-1], waypoints[-1])


@pytest.mark.parametrize("method", METHODS)
def test_path_meets_every_waypoint_that_a_frame_falls_on(method: Method) -> None:
    waypoints = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    np.testing.assert_array_equal(path(waypoints, 13, method, loop=False)[::3], waypoints)


@pytest.mark.parametrize("method", METHODS)
def test_loop_comes_back_without_repeating_its_start(method: Method) -> None:
    waypoints = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    frames = path(waypoints, 12, method, loop=True)
    np.testing.assert_array_equal(frames[::4], waypoints)
    closed = path(np.vstack([waypoints, waypoints[:1]]), 13, method, loop=False)
    np.testing.assert_array_equal(frames, closed[:-1])


def test_straight_path_is_evenly_spaced() -> None:
    waypoints = np.array([[0.0, 0.0], [4.0, 0.0], [4.0, 4.0]], np.float32)
    frames = path(waypoints, 9, "lerp", loop=False)
    np.testing.assert_allclose(np.linalg.norm(np.diff(frames, axis=0), axis=1), 1.0)


def test_waypoint_of_zeros_is_refused_even_if_every_frame_misses_its_arc() -> None:
    with pytest.raises(LatentError, match="zeros"):
        path(np.array([[0.0, 0.0], [1.0, 0.0]], np.float32), 2, "slerp", loop=False)


def test_arc_that_leaves_float32_is_refused(client: Client) -> None:
    ends = {"from": {"latent": [3e38] + [0.0] * 7}, "to": {"latent": [-1.0, 1e-3] + [0.0] * 6}}
    response = client.post("/interpolate", ends | {"method": "slerp"})
    assert (response.status_code, response.json()["code"]) == (422, "invalid_latents")
    assert "float32" in response.json()["detail"]
    assert client.post("/interpolate", ends | {"method": "lerp"}).status_code == 200
