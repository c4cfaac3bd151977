"""Euclidean distances between many points, by matrix products, in blocks that bound the memory."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]

BLOCK_BYTES = 256 * 2**20


def squared_distances(queries: Rows, points: Rows) -> Iterator[tuple[slice, Rows]]:
    """Squared distances of every query to every point, a block of queries at a time.

    |q - p|² = |q|² + |p|² - 2 q·p, about the mean of the points, which keeps the cancellation small in float32.

    Args:
        queries: Shape (n, d).
        points: Shape (m, d).

    Yields:
        The slice of the queries, and their distances, shape (block, m), not negative. The array may be overwritten.
    """
    centre = points.mean(axis=0, dtype=np.float64).astype(np.float32)
    p = points - centre
    p_norms = np.einsum("ij,ij->i", p, p)
    rows = max(1, BLOCK_BYTES // (4 * len(points)))
    for start in range(0, len(queries), rows):
        part = slice(start, min(start + rows, len(queries)))
        q = queries[part] - centre
        squares = q @ p.T
        squares *= -2
        squares += p_norms
        squares += np.einsum("ij,ij->i", q, q)[:, None]
        yield part, np.maximum(squares, 0, out=squares)


def nearest(queries: Rows, points: Rows) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Index of the nearest point to each query, and its distance, both of shape (n,)."""
    index = np.empty(len(queries), dtype=np.int64)
    for part, squares in squared_distances(queries, points):
        index[part] = squares.argmin(axis=1)
    return index, _paired_distances(queries, points[index])


def neighbour_radii(points: Rows, k: int) -> NDArray[np.float32]:
    """Squared distance of each point to its k-th nearest neighbour among the others, shape (n,)."""
    radii = np.empty(len(points), dtype=np.float32)
    for part, squares in squared_distances(points, points):
        squares[np.arange(len(squares)), np.arange(part.start, part.stop)] = -1  # itself first, even among copies
        radii[part] = np.partition(squares, k, axis=1)[:, k]
    return radii


def _paired_distances(a: Rows, b: Rows) -> NDArray[np.float64]:
    difference = a - b
    return np.asarray(np.sqrt(np.einsum("ij,ij->i", difference, difference, dtype=np.float64)))
