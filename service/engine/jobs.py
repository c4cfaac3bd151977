"""A caller's request as the engine sees it, and the slices that lanes take from it."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Signature = tuple[tuple[tuple[str, str, tuple[int, ...]], ...], tuple[str, ...]]


class Job:
    """Rows that one caller wants run. The lanes' lock guards its counters.

    Args:
        inputs: Arrays with the same first axis n.
        outputs: Names of the outputs that are wanted.
        arrived: When it came, on the monotonic clock, in seconds.
        deadline: When it is too late, on the same clock.
        future: Gets the answer; touched by the event loop alone.
    """

    __slots__ = ("_results", "arrived", "deadline", "future", "inputs", "open", "outputs", "returned", "rows", "taken")

    def __init__(
        self,
        inputs: Mapping[str, Array],
        outputs: Sequence[str],
        arrived: float,
        deadline: float | None,
        future: "asyncio.Future[dict[str, Array]]",
    ) -> None:
        self.inputs = inputs
        self.outputs = tuple(outputs)
        self.arrived = arrived
        self.deadline = deadline
        self.future = future
        self.rows = len(next(iter(inputs.values())))
        self.taken = 0  # rows that lanes have taken
        self.returned = 0  # rows that have come back
        self.open = True  # the caller still waits, and nothing has failed
        self._results: dict[str, Array] | None = None

    @property
    def waiting(self) -> int:
        """Rows that no lane has taken yet."""
        return self.rows - self.taken

    def signature(self) -> Signature:
        """What requests must agree in to run as one batch: inputs, their shapes beyond the batch, outputs."""
        inputs = tuple((name, array.dtype.str, array.shape[1:]) for name, array in self.inputs.items())
        return inputs, self.outputs

    def results(self, like: Mapping[str, Array]) -> dict[str, Array]:
        """Room for the answer of a job that runs in several slices, made when the first comes back."""
        if self._results is None:
            self._results = {
                name: np.empty((self.rows, *array.shape[1:]), dtype=array.dtype) for name, array in like.items()
            }
        return self._results


class Slice(NamedTuple):
    """Rows `start` to `stop - 1` of a job."""

    job: Job
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self.stop - self.start
