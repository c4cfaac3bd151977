"""A batch in a lane: gather the slices, run, count, hand out; split it to find who is at fault."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.invariance import Padding
from service.engine.jobs import Job, Slice
from service.engine.runtimes.base import Runtime

Array = NDArray[Any]
Outcome = tuple[Job, dict[str, Array] | BaseException]

_log = logging.getLogger(__name__)


class BatchSizeError(Exception):
    """The runtime's answer does not fit the batch: whose rows are whose cannot be known."""


class Batch:
    """Slices that run together.

    Args:
        slices: At least one, of jobs with the same signature.
        runtime: Runs them.
        padding: How many rows the runtime must be given.
        lock: Guards the jobs' counters.
        ran: Hears images, padding and seconds of every run.
        deliver: Takes what is known about jobs, from the lane's thread.
    """

    def __init__(
        self,
        slices: Sequence[Slice],
        runtime: Runtime,
        padding: Padding,
        lock: threading.Lock,
        ran: Callable[[int, int, float], None],
        deliver: Callable[[Sequence[Outcome]], None],
    ) -> None:
        self._slices = slices
        self._runtime = runtime
        self._padding = padding
        self._lock = lock
        self._ran = ran
        self._deliver = deliver

    def run(self) -> None:
        """Run the slices whose callers still wait. Only what is no `Exception` gets out, after all are answered."""
        try:
            self._deliver(self._attempt(self._slices))
        except BaseException as error:
            self._deliver([(piece.job, error) for piece in self._slices])
            raise

    def _attempt(self, slices: Sequence[Slice]) -> list[Outcome]:
        slices = [piece for piece in slices if piece.job.open]
        if not slices:
            return []
        try:
            outputs = self._run(slices)
        except BatchSizeError as error:
            _log.error("batch refused: %s", error)
            return [_fail(piece.job, error) for piece in slices]
        except Exception as error:
            if len(slices) == 1:
                _log.warning("a request failed alone: %s: %s", type(error).__name__, error)
                return [_fail(slices[0].job, error)]
            middle = len(slices) // 2
            return self._attempt(slices[:middle]) + self._attempt(slices[middle:])
        return self._hand_out(slices, outputs)

    def _run(self, slices: Sequence[Slice]) -> dict[str, Array]:
        rows = sum(piece.rows for piece in slices)
        padding = self._padding.rows(rows) - rows
        inputs = {name: _gather(name, slices, padding) for name in slices[0].job.inputs}
        wanted = slices[0].job.outputs
        start = time.perf_counter()
        outputs = self._runtime.run(inputs, wanted)
        self._ran(rows, padding, time.perf_counter() - start)
        _check_count(outputs, wanted, rows + padding)
        return outputs

    def _hand_out(self, slices: Sequence[Slice], outputs: Mapping[str, Array]) -> list[Outcome]:
        finished: list[Outcome] = []
        start = 0
        for job, first, last in slices:
            stop = start + last - first
            part = {name: array[start:stop] for name, array in outputs.items()}
            start = stop
            if last - first == job.rows:
                finished.append((job, part))
                continue
            with self._lock:
                answer = job.results(part)
            for name, array in part.items():
                answer[name][first:last] = array
            with self._lock:
                job.returned += last - first
                if job.returned == job.rows:
                    finished.append((job, answer))
        return finished


def _fail(job: Job, error: Exception) -> Outcome:
    job.open = False  # at once: lanes may run its other slices before the loop drops them
    return job, error


def _gather(name: str, slices: Sequence[Slice], padding: int) -> Array:
    parts = [piece.job.inputs[name][piece.start : piece.stop] for piece in slices]
    if padding:
        parts.append(np.repeat(parts[-1][-1:], padding, axis=0))  # a row that is valid whatever the graph takes
    return np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.concatenate(parts)


def _check_count(outputs: Mapping[str, Array], wanted: Sequence[str], rows: int) -> None:
    found = {name: array.shape[0] if array.ndim else 0 for name, array in outputs.items()}
    expected = dict.fromkeys(wanted, rows)
    if found != expected:
        raise BatchSizeError(f"the runtime returned rows {found}; expected {expected}")
