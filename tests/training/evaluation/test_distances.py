"""Blocked distances against the plain formula."""

import numpy as np
import pytest

from training.evaluation import distances


@pytest.fixture(params=[64, 2**20], ids=["row by row", "one block"])
def _block(request, monkeypatch):
    monkeypatch.setattr(distances, "BLOCK_BYTES", request.param)


@pytest.mark.usefixtures("_block")
def test_blocks_cover_every_query_with_its_distances():
    rng = np.random.default_rng(0)
    q, p = rng.normal(size=(7, 5)).astype(np.float32) + 100, rng.normal(size=(16, 5)).astype(np.float32) + 100
    found = np.concatenate([block.copy() for _, block in distances.squared_distances(q, p)])
    expected = np.square(q[:, None].astype(np.float64) - p[None]).sum(axis=2)
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.usefixtures("_block")
def test_nearest_finds_copies_at_distance_zero():
    rng = np.random.default_rng(1)
    points = rng.normal(size=(20, 6)).astype(np.float32)
    index, distance = distances.nearest(points[[3, 11]], points)
    assert index.tolist() == [3, 11]
    assert distance.tolist() == [0, 0]


@pytest.mark.usefixtures("_block")
def test_radius_skips_the_point_itself_but_not_its_copies():
    points = np.array([[0.0], [0.0], [3.0], [7.0]], dtype=np.float32)
    np.testing.assert_allclose(distances.neighbour_radii(points, 1), [0, 0, 9, 16], atol=1e-5)
    np.testing.assert_allclose(distances.neighbour_radii(points, 2), [9, 9, 9, 49], atol=1e-5)
