"""How close a set of generated images is to a set of real ones, by features of both. Pure functions of arrays."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.evaluation.distances import neighbour_radii, squared_distances
from training.evaluation.estimates import Estimate, mean_over_images

Features = NDArray[np.floating[Any]]

KERNEL_BLOCKS = 10


@dataclass(frozen=True)
class Overlap:
    """How two sets of features cover each other; every figure is a share, but for `density`, which may pass 1."""

    precision: float
    recall: float
    density: float
    coverage: float


def frechet_distance(real: Features, fake: Features) -> float:
    """Fréchet distance between the Gaussians that have the moments of two sets of features.

    |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^½). The trace of the root is the sum of the roots of the eigenvalues of
    C1^½ C2 C1^½, which is symmetric, so that no general matrix root is needed and singular covariances are safe.
    Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", 2017,
    https://arxiv.org/abs/1706.08500.

    Args:
        real, fake: Shapes (n, d) and (m, d).

    Returns:
        Squared units of the features; biased upwards by a finite number of rows, so compare equal numbers only.
    """
    mean_real, cov_real = _moments(real)
    mean_fake, cov_fake = _moments(fake)
    values, vectors = np.linalg.eigh(cov_real)
    root_real = (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
    product = np.linalg.eigvalsh(root_real @ cov_fake @ root_real)
    trace_of_root = np.sqrt(np.clip(product, 0, None)).sum()
    shift = np.square(mean_real - mean_fake).sum()
    return float(max(0.0, shift + np.trace(cov_real) + np.trace(cov_fake) - 2 * trace_of_root))


def kernel_distance(real: Features, fake: Features, blocks: int = KERNEL_BLOCKS) -> Estimate:
    """Squared maximum mean discrepancy with the cubic kernel (x·y / d + 1)³: unbiased, and below 0 by chance.

    The sets are cut into `blocks` disjoint pairs of blocks; the value is the mean over them with its standard error.
    Binkowski et al., "Demystifying MMD GANs", 2018, https://arxiv.org/abs/1801.01401.

    Args:
        real, fake: Shapes (n, d) and (m, d), rows in random order.
        blocks: At least 2.

    Raises:
        ValueError: If a block would hold fewer than 2 rows.
    """
    size = min(len(real), len(fake)) // blocks
    if size < 2 or blocks < 2:
        raise ValueError(
            f"kernel distance of {len(real)} and {len(fake)} rows in {blocks} blocks; "
            f"expected at least 2 blocks of at least 2 rows"
        )
    estimates = [_cubic_mmd(real[i * size : (i + 1) * size], fake[i * size : (i + 1) * size]) for i in range(blocks)]
    return mean_over_images(np.array(estimates))


def overlap(real: Features, fake: Features, k_precision: int = 3, k_density: int = 5) -> Overlap:
    """Precision, recall, density and coverage.

    Precision is the share of fakes inside the ball of a real image that reaches to its k-th real neighbour; recall
    swaps the roles: Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", 2019,
    https://arxiv.org/abs/1904.06991 (k = 3). Density counts such balls per fake (over k), coverage is the share of
    real balls that hold a fake: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", 2020,
    https://arxiv.org/abs/2002.09797 (k = 5).

    Args:
        real, fake: Shapes (n, d) and (m, d), each with more rows than the larger k.

    Raises:
        ValueError: If there are too few rows.
    """
    if min(len(real), len(fake)) <= max(k_precision, k_density):
        raise ValueError(
            f"{len(real)} and {len(fake)} rows; expected more than the number of neighbours, "
            f"{max(k_precision, k_density)}"
        )
    real, fake = real.astype(np.float32), fake.astype(np.float32)
    real_balls, real_wide_balls = neighbour_radii(real, k_precision), neighbour_radii(real, k_density)
    fake_balls = neighbour_radii(fake, k_precision)
    precise = np.zeros(len(fake), dtype=bool)
    recalled = np.zeros(len(real), dtype=bool)
    covered = np.zeros(len(real), dtype=bool)
    held = 0
    for part, squares in squared_distances(fake, real):
        precise[part] = (squares <= real_balls).any(axis=1)
        recalled |= (squares <= fake_balls[part, None]).any(axis=0)
        inside = squares <= real_wide_balls
        held += int(np.count_nonzero(inside))
        covered |= inside.any(axis=0)
    return Overlap(
        precision=float(precise.mean()),
        recall=float(recalled.mean()),
        density=held / (k_density * len(fake)),
        coverage=float(covered.mean()),
    )


def _moments(features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rows = features.astype(np.float64)
    return rows.mean(axis=0), np.atleast_2d(np.cov(rows, rowvar=False))


def _cubic_mmd(x: Features, y: Features) -> float:
    n, m = len(x), len(y)
    x, y = x.astype(np.float64), y.astype(np.float64)
    kxx, kyy, kxy = _cubic_kernel(x, x), _cubic_kernel(y, y), _cubic_kernel(x, y)
    within = (kxx.sum() - np.trace(kxx)) / (n * (n - 1)) + (kyy.sum() - np.trace(kyy)) / (m * (m - 1))
    return float(within - 2 * kxy.mean())


def _cubic_kernel(a: Features, b: Features) -> NDArray[np.float64]:
    return np.asarray((a @ b.T / a.shape[1] + 1) ** 3, dtype=np.float64)
