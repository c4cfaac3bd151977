"""k-means centres of training images: the baseline that no Parzen figure goes without."""

import hashlib
import io
import logging
from pathlib import Path

import numpy as np

from training.evaluation.distances import Rows, squared_distances
from training.evaluation.files import write_atomically

log = logging.getLogger(__name__)


def kmeans_centres(points: Rows, count: int, iterations: int, seed: int) -> Rows:
    """Centres by Lloyd's algorithm, begun at `count` of the points; a centre without points stays where it is.

    Args:
        points: Shape (n, d).
        count: Number of centres, at most n.
        iterations: Times that points are assigned and centres moved.
        seed: Of the choice of the first centres.

    Returns:
        Shape (count, d).

    Raises:
        ValueError: If there are fewer points than centres.
    """
    if not 1 <= count <= len(points):
        raise ValueError(f"{count} centres of {len(points)} points; expected from 1 to {len(points)}")
    order = np.random.Generator(np.random.Philox(seed))
    centres = points[order.choice(len(points), count, replace=False)]
    for iteration in range(iterations):
        owner = np.empty(len(points), dtype=np.int64)
        for part, squares in squared_distances(points, centres):
            owner[part] = squares.argmin(axis=1)
        moved = _means(points, owner, centres)
        log.info(
            "k-means iteration %d of %d: centres moved by %.4g on average",
            iteration + 1,
            iterations,
            np.linalg.norm(moved - centres, axis=1).mean(),
        )
        centres = moved
    return centres


def cached_kmeans_centres(
    points: Rows, count: int, iterations: int, seed: int, data_sha256: str, cache_dir: Path
) -> Rows:
    """`kmeans_centres` from the cache, which knows them by the data's hash, the shape of the points and the rest."""
    recipe = f"{data_sha256}/{points.shape}/{count}/{iterations}/{seed}"
    path = cache_dir / f"kmeans-{hashlib.sha256(recipe.encode()).hexdigest()[:16]}.npy"
    if path.is_file():
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
    log.info("k-means: %d centres of %d images", count, len(points))
    centres = kmeans_centres(points, count, iterations, seed)
    buffer = io.BytesIO()
    np.save(buffer, centres, allow_pickle=False)
    write_atomically(path, buffer.getvalue())
    return centres


def _means(points: Rows, owner: np.ndarray[tuple[int], np.dtype[np.int64]], centres: Rows) -> Rows:
    by_owner = np.argsort(owner, kind="stable")
    owners, starts, counts = np.unique(owner[by_owner], return_index=True, return_counts=True)
    means = centres.copy()
    means[owners] = np.add.reduceat(points[by_owner], starts, axis=0) / counts[:, None]
    return means
