"""A caller's request as the engine sees it, and the slices that lanes take from it."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.rows import Rows
from service.engine.timings import Timings

Array = NDArray[Any]
Answer = dict[str, Array]
Signature = tuple[tuple[tuple[str, np.dtype[Any], tuple[int, ...]], ...], tuple[str, ...]]


class Job:
    """Rows that one caller wants run. The lanes' lock guards its counters.

    Args:
        inputs: Arrays with the same first axis n, or what makes them.
        outputs: Names of the outputs that are wanted.
        arrived: When it came, on the monotonic clock, in seconds.
        deadline: When it is too late, on the same clock.
        future: Gets the answer; touched by the event loop alone.
    """

    __slots__ = (
        "_results",
        "arrived",
        "compute_s",
        "deadline",
        "expected",
        "future",
        "group",
        "inputs",
        "open",
        "outputs",
        "returned",
        "rows",
        "started",
        "taken",
        "watch",
    )

    def __init__(
        self,
        inputs: Mapping[str, Rows],
        outputs: Sequence[str],
        arrived: float,
        deadline: float | None,
        future: "asyncio.Future[Answer]",
    ) -> None:
        self.inputs = inputs
        self.outputs = tuple(outputs)
        self.arrived = arrived
        self.deadline = deadline
        self.future = future
        self.rows = len(next(iter(inputs.values())))
        self.group: OrderedDict[Job, None] | None = None  # where it waits, as long as it does
        self.taken = 0  # rows that lanes have taken
        self.returned = 0  # rows that have come back
        self.started: float | None = None  # when a lane took the first of them
        self.compute_s = 0.0
        self.expected = arrived  # when there should be an answer
        self.watch: int | None = None  # its number among the deadlines
        self.open = True  # the caller still waits, and nothing has failed
        self._results: Answer | None = None

    @property
    def waiting(self) -> int:
        """Rows that no lane has taken yet."""
        return self.rows - self.taken

    def signature(self) -> Signature:
        """What requests must agree in to run as one batch: inputs, their shapes beyond the batch, outputs."""
        inputs = tuple([(name, array.dtype, array.shape[1:]) for name, array in self.inputs.items()])
        return inputs, self.outputs

    def results(self, like: Mapping[str, Array]) -> Answer:
        """Room for the answer of a job that runs in several slices, made when the first comes back."""
        if self._results is None:
            self._results = {
                name: np.empty((self.rows, *array.shape[1:]), dtype=array.dtype) for name, array in like.items()
            }
        return self._results

    def tell(self, timings: Timings) -> None:
        """Add up where the time went, now that it is over."""
        now = time.monotonic()
        if self.started is None:
            timings.queue_s += now - self.arrived
            return
        timings.queue_s += self.started - self.arrived
        timings.compute_s += self.compute_s
        # Slices run in several lanes at once: together they may have computed for longer than it took.
        timings.batch_s += max(0.0, now - self.started - self.compute_s)


Slice = tuple[Job, int, int]  # rows `start` to `stop - 1` of a job; no named tuple, which takes three times as long
