"""Which classes a generator draws, judged by the classes that a probe sees in its samples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PSEUDO_COUNT = 0.5  # Jeffreys' prior: a class that nobody has leaves the divergence finite


@dataclass(frozen=True)
class Modes:
    """Coverage of the classes.

    Attributes:
        covered: Number of classes that get at least `least_share` of the samples.
        total: Number of classes among the real images.
        least_share: A tenth of an equal share.
        class_kl: Divergence of the samples' classes from the real ones, in nats.
    """

    covered: int
    total: int
    least_share: float
    class_kl: float


def modes(real_classes: NDArray[np.int64], fake_classes: NDArray[np.int64]) -> Modes:
    """Modes covered, and KL(samples' histogram ‖ real histogram), as in Metz et al., "Unrolled Generative Adversarial
    Networks", 2017, https://arxiv.org/abs/1611.02163 (who count a mode as covered by a single sample).

    Args:
        real_classes, fake_classes: Class seen in each real image and in each sample, shapes (n,) and (m,).
    """
    size = int(max(real_classes.max(), fake_classes.max())) + 1
    real, fake = np.bincount(real_classes, minlength=size), np.bincount(fake_classes, minlength=size)
    total = int(np.count_nonzero(real))
    least_share = 0.1 / total
    covered = np.count_nonzero((real > 0) & (fake >= least_share * fake.sum()))
    p, q = _smoothed(fake), _smoothed(real)
    return Modes(int(covered), total, least_share, class_kl=float((p * np.log(p / q)).sum()))


def _smoothed(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    smoothed = counts + PSEUDO_COUNT
    return np.asarray(smoothed / smoothed.sum(), dtype=np.float64)
