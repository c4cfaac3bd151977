"""Latent codes by (seed, index): the same in training and in the service.

The uniform numbers are the same to the bit everywhere. The logarithm and cosine that numpy picks depend on the CPU in
the last bit of a float64, which should reach the float32 of a code about once in 10**10 numbers.
"""

import math
from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bundle.errors import LatentError
from bundle.philox import checked_range, labels_of, uniforms_of
from bundle.priors import Prior

_FLOAT32 = np.dtype(np.float32)
_INT64 = np.dtype(np.int64)


def latents(prior: Prior, seed: int, start: int, n: int, truncation: float = 1.0) -> NDArray[np.float32]:
    """Codes of the images `start` to `start + n - 1` of a seed.

    Row i depends on (prior, seed, start + i, truncation) alone.

    Args:
        prior: What the codes are drawn from.
        seed: 0 to 2**53 - 1.
        start: Index of the first image.
        n: Number of images.
        truncation: Factor towards the prior's centre, at least 0; 1 is off.

    Returns:
        Shape (n, prior.dim).

    Raises:
        LatentError: If a number is out of its range.
        PriorError: If the prior cannot be truncated.
    """
    return SeededCodes.draw([SeededCodes(prior, seed, start, n, truncation)])


class SeededCodes:
    """Codes that are not drawn yet: those of several requests cost a third if they are drawn together.

    Args, errors: As for `latents`.

    Attributes:
        shape, dtype: Of the codes.
    """

    __slots__ = ("dtype", "prior", "seed", "shape", "start", "truncation")

    def __init__(self, prior: Prior, seed: int, start: int, n: int, truncation: float = 1.0) -> None:
        self.seed, self.start, n = checked_range(seed, start, n)
        if truncation != 1:
            _check_truncation(prior, truncation)
        self.prior = prior
        self.truncation = truncation
        self.shape = (n, prior.dim)
        self.dtype = _FLOAT32

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Self:
        first, last = _bounds(rows, self.shape[0])
        return type(self)(self.prior, self.seed, self.start + first, last - first, self.truncation)

    @classmethod
    def draw(cls, parts: Sequence[Self]) -> NDArray[np.float32]:
        """The codes of at least one, all of one prior, one after the other: to the bit what each gives alone."""
        prior = parts[0].prior
        z = prior.transform(uniforms_of([(part.seed, part.start, part.shape[0]) for part in parts], prior.draws))
        stop = 0
        for part in parts:
            start, stop = stop, stop + part.shape[0]
            if part.truncation != 1:
                z[start:stop] = prior.truncate(z[start:stop], part.truncation)
        return z


class SeededLabels:
    """Classes that are not drawn yet, uniform over `classes`: those of `bundle.philox.labels`.

    Attributes:
        shape, dtype: Of the labels.

    Raises:
        LatentError: If a number is out of its range.
    """

    __slots__ = ("classes", "dtype", "seed", "shape", "start")

    def __init__(self, classes: int, seed: int, start: int, n: int) -> None:
        if classes < 1:
            raise LatentError(f"classes is {classes}; expected at least 1")
        self.seed, self.start, n = checked_range(seed, start, n)
        self.classes = classes
        self.shape = (n,)
        self.dtype = _INT64

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> Self:
        first, last = _bounds(rows, self.shape[0])
        return type(self)(self.classes, self.seed, self.start + first, last - first)

    @classmethod
    def draw(cls, parts: Sequence[Self]) -> NDArray[np.int64]:
        """The labels of at least one, all over the same classes, one after the other."""
        return labels_of(parts[0].classes, [(part.seed, part.start, part.shape[0]) for part in parts])


def _bounds(rows: slice, n: int) -> tuple[int, int]:
    first, last, _ = rows.indices(n)
    return first, max(first, last)


def _check_truncation(prior: Prior, truncation: float) -> None:
    if not (math.isfinite(truncation) and truncation >= 0):
        raise LatentError(f"truncation is {truncation}; expected a finite number of at least 0, where 1 is off")
    prior.truncate(np.empty((0, prior.dim), dtype=np.float32), truncation)  # refuses what it cannot do
