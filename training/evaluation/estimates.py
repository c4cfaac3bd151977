"""Figures with their errors."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Estimate:
    """A figure with the standard error of its mean."""

    value: float
    error: float


def mean_over_images(values: NDArray[np.floating[Any]]) -> Estimate:
    """Mean of one number per image, or per block of images, shape (n,), with its standard error.

    Raises:
        ValueError: If there are fewer than 2 numbers, which have no spread.
    """
    if len(values) < 2:
        raise ValueError(f"a mean with its error of {len(values)} numbers; give at least 2")
    values = values.astype(np.float64)
    return Estimate(float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))
