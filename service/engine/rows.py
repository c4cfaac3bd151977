"""The rows of a batch: those of its requests, one after the other."""

from collections.abc import Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Deferred(Protocol):
    """Rows that are made when their batch runs, all of its requests' in one go."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array that they will be."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the array that they will be."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Self: ...

    @classmethod
    def draw(cls, parts: Sequence[Self]) -> Array:
        """The rows of all of them, one after the other; each has the bytes that it would have alone."""


Rows = Array | Deferred


def gather(parts: Sequence[Rows], padding: int) -> Array:
    """One contiguous array of all parts.

    Args:
        parts: At least one, with the same type and shape beyond the first axis.
        padding: Further rows, whatever they hold.
    """
    arrays = _drawn(parts)
    if padding:
        arrays = [*arrays, np.repeat(arrays[-1][-1:], padding, axis=0)]  # a row that is valid whatever the graph takes
    return np.ascontiguousarray(arrays[0]) if len(arrays) == 1 else np.concatenate(arrays)


def _drawn(parts: Sequence[Rows]) -> list[Array]:
    later = [part for part in parts if not isinstance(part, np.ndarray)]
    if not later:
        return list(parts)  # type: ignore[arg-type]
    made = type(later[0]).draw(later)
    if len(later) == len(parts):
        return [made]
    arrays: list[Array] = []
    stop = 0
    for part in parts:
        if isinstance(part, np.ndarray):
            arrays.append(part)
        else:
            start, stop = stop, stop + len(part)
            arrays.append(made[start:stop])
    return arrays
