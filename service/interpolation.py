"""Paths between latent codes."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bundle.errors import LatentError

Latent = NDArray[np.float32]
Method = Literal["slerp", "lerp"]

_LARGEST = float(np.finfo(np.float32).max)
_FLAT = 1e-6  # below this sine of the angle the quotients of slerp lose their digits


def lerp(start: Latent, end: Latent, weight: float) -> Latent:
    """Point on the straight line from `start` (weight 0) to `end` (weight 1), shape (latent_dim,)."""
    _same_shape(start, end)
    a, b = start.astype(np.float64), end.astype(np.float64)
    return np.asarray((1 - weight) * a + weight * b, dtype=np.float32)


def slerp(start: Latent, end: Latent, weight: float) -> Latent:
    """Point on the great circle from `start` to `end`.

    Gaussian latents lie near a sphere; a straight line cuts inside it (norm about 0.7 midway).
    White, "Sampling Generative Networks", 2016, https://arxiv.org/abs/1609.04468.

    Args:
        start: Latent code, shape (latent_dim,).
        end: Latent code, shape (latent_dim,).
        weight: 0 gives `start`, 1 gives `end`.

    Raises:
        LatentError: If the shapes differ, a code is all zeros, or the arc leaves the range of float32.

    Parallel and opposite codes define no arc; the result is then linear, never NaN.
    """
    _same_shape(start, end)
    a, b = start.astype(np.float64), end.astype(np.float64)
    norms = np.linalg.norm(a), np.linalg.norm(b)
    if min(norms) == 0:
        raise LatentError('a code is all zeros and has no direction: slerp cannot start or end there; use "lerp"')
    cosine = np.clip(np.dot(a / norms[0], b / norms[1]), -1.0, 1.0)
    angle = np.arccos(cosine)
    sine = np.sin(angle)
    if sine < _FLAT:
        return lerp(start, end, weight)
    point = (np.sin((1 - weight) * angle) * a + np.sin(weight * angle) * b) / sine
    if np.abs(point).max() > _LARGEST:  # nearly opposite codes of very different lengths
        raise LatentError(
            'the way from one code to the next leaves the range of float32; send smaller ones, or use "lerp"'
        )
    return np.asarray(point, dtype=np.float32)


def path(waypoints: NDArray[np.float32], steps: int, method: Method, loop: bool) -> NDArray[np.float32]:
    """Evenly spaced codes along a way through all waypoints.

    Each stretch between two waypoints takes the same share of the frames. The first frame is the first waypoint
    exactly, and the last the last one; a waypoint between is met exactly where a frame falls on it.

    Args:
        waypoints: Codes, shape (k, latent_dim), k >= 2.
        steps: Frames in all, at least 2.
        method: Along great circles or straight lines.
        loop: Go on from the last waypoint back to the first and stop one frame before it, so that the frames can be
            repeated for ever.

    Returns:
        Shape (steps, latent_dim).

    Raises:
        LatentError: If the method is slerp and a waypoint is all zeros, or the arc leaves the range of float32.
    """
    between = slerp if method == "slerp" else lerp
    points = [*waypoints, waypoints[0]] if loop else list(waypoints)
    stretches, gaps = len(points) - 1, steps if loop else steps - 1
    frames = []
    for step in range(steps):
        stretch, part = divmod(step * stretches, gaps)  # in whole numbers, so that the ends are exact
        frames.append(between(points[stretch], points[stretch + 1], part / gaps) if part else points[stretch])
    if method == "slerp" and not np.any(waypoints, axis=1).all():
        raise LatentError('a waypoint is all zeros and has no direction for slerp; use "lerp"')
    return np.stack(frames)


def _same_shape(start: Latent, end: Latent) -> None:
    if start.shape != end.shape:
        raise LatentError(f"codes have shapes {start.shape} and {end.shape}; expected the same")
