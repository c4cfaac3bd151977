"""A batch in a lane: gather the slices, run, count, hand out; split it to find who is at fault, or what fits."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from service.engine.invariance import Padding
from service.engine.jobs import Answer, Job, Slice
from service.engine.rows import gather
from service.engine.runtimes.base import Runtime

Array = NDArray[Any]
Outcome = tuple[Job, Answer | BaseException]

_log = logging.getLogger(__name__)


class BatchSizeError(Exception):
    """The runtime's answer does not fit the batch: whose rows are whose cannot be known."""


class Owner(Protocol):
    """Whose slices they are. Batches call it from a lane's thread, without the lanes' lock."""

    def ran(self, batch: "Batch", images: int, padding: int, seconds: float, gathering_s: float) -> None:
        """A run of `images` and `padding` rows took so long, after its inputs had been gathered."""

    def back(self, batch: "Batch", outcomes: Sequence[Outcome]) -> None:
        """The batch is over, and this is known about its jobs."""

    def shrink(self, rows: int) -> None:
        """Memory ran out, and sufficed again for so many rows at once."""


class Batch:
    """Slices that run together.

    Args:
        slices: At least one, of jobs with the same signature.
        runtime: Runs them.
        padding: How many rows the runtime must be given.
        lock: Guards the jobs' counters.
        owner: Hears what becomes of it.

    Attributes:
        runtime: What it runs on.
        thread: Identity of the thread that it runs in.
        running_since: When the run that is under way began (monotonic seconds), and how many rows it has; or None.
        abandoned: Its callers have been told that it hangs; whatever it still brings is dropped.
    """

    def __init__(
        self, slices: Sequence[Slice], runtime: Runtime, padding: Padding, lock: threading.Lock, owner: Owner
    ) -> None:
        self.runtime = runtime
        self.thread = 0
        self.running_since: tuple[float, int] | None = None
        self.abandoned = False
        self._slices = slices
        self._padding = padding
        self._lock = lock
        self._owner = owner
        self._fitting: int | None = None  # what batches were cut to when memory ran out
        self._never_fits = False  # not even the least batch of some slice

    @property
    def jobs(self) -> list[Job]:
        """Whose rows it has."""
        return [job for job, _, _ in self._slices]

    def run(self) -> None:
        """Run the slices whose callers still wait. Only what is no `Exception` gets out, after all are answered."""
        self.thread = threading.get_ident()
        try:
            outcomes = self._attempt(self._slices)
        except BaseException as error:
            self._owner.back(self, [(job, error) for job in self.jobs])
            raise
        try:
            if self._fitting is not None and not self._never_fits:
                self._owner.shrink(self._fitting)
        finally:
            self._owner.back(self, outcomes)

    def _attempt(self, slices: Sequence[Slice]) -> list[Outcome]:
        slices = [piece for piece in slices if piece[0].open]
        if not slices or self.abandoned:
            return []
        rows = sum([stop - start for _, start, stop in slices])
        try:
            outputs, seconds = self._run(slices, rows)
        except BatchSizeError as error:
            _log.error("batch refused: %s", error)
            return [_fail(job, error) for job, _, _ in slices]
        except Exception as error:
            return self._split(slices, rows, error)
        if self.abandoned:
            return []
        try:
            return self._hand_out(slices, outputs, seconds)
        except Exception as error:  # no memory for an answer, or runs of one job that do not fit together
            _log.exception("a batch could not be handed out")
            return [_fail(job, error) for job, _, _ in slices]

    def _run(self, slices: Sequence[Slice], rows: int) -> tuple[Answer, float]:
        executed = self._padding.rows(rows)
        wanted = slices[0][0].outputs
        begun = time.monotonic()
        inputs = _inputs(slices, executed - rows)
        start = time.monotonic()
        self.running_since = start, executed
        try:
            outputs = self.runtime.run(inputs, wanted)
        finally:
            self.running_since = None
        seconds = time.monotonic() - start
        if not self.abandoned:
            self._owner.ran(self, rows, executed - rows, seconds, start - begun)
            _check_count(outputs, wanted, executed)
        return outputs, seconds

    def _split(self, slices: Sequence[Slice], rows: int, error: Exception) -> list[Outcome]:
        if self.abandoned:
            return []
        if self.runtime.out_of_memory(error):
            half = self._padding.rows(-(-rows // 2))
            if half < self._padding.rows(rows):
                _log.warning("memory ran out at %d rows: %s", rows, error)
                self._fitting = half if self._fitting is None else min(half, self._fitting)
                return [outcome for part in _cut(slices, half) for outcome in self._attempt(part)]
            self._never_fits = True
        if len(slices) == 1:
            _log.warning("a request failed alone: %s: %s", type(error).__name__, error)
            return [_fail(slices[0][0], error)]
        middle = len(slices) // 2
        return self._attempt(slices[:middle]) + self._attempt(slices[middle:])

    def _hand_out(self, slices: Sequence[Slice], outputs: Mapping[str, Array], seconds: float) -> list[Outcome]:
        finished: list[Outcome] = []
        start = 0
        for job, first, last in slices:
            stop = start + last - first
            part = {name: array[start:stop] for name, array in outputs.items()}
            start = stop
            if last - first == job.rows:
                job.compute_s = seconds
                finished.append((job, part))
                continue
            with self._lock:
                answer = job.results(part)
            for name, array in part.items():
                answer[name][first:last] = array
            with self._lock:
                job.compute_s += seconds
                job.returned += last - first
                if job.returned == job.rows:
                    finished.append((job, answer))
        return finished


def _fail(job: Job, error: Exception) -> Outcome:
    job.open = False  # at once: lanes may run its other slices before the loop drops them
    return job, error


def _inputs(slices: Sequence[Slice], padding: int) -> dict[str, Array]:
    found = {}
    for name in slices[0][0].inputs:
        parts = [
            job.inputs[name] if stop - start == job.rows else job.inputs[name][start:stop]
            for job, start, stop in slices
        ]
        found[name] = gather(parts, padding)
    return found


def _cut(slices: Sequence[Slice], limit: int) -> list[list[Slice]]:
    """The same rows in the same order, at most `limit` of them together."""
    parts: list[list[Slice]] = [[]]
    space = limit
    for job, start, stop in slices:
        while start < stop:
            if not space:
                parts.append([])
                space = limit
            rows = min(stop - start, space)
            parts[-1].append((job, start, start + rows))
            start += rows
            space -= rows
    return parts


def _check_count(outputs: Mapping[str, Array], wanted: Sequence[str], rows: int) -> None:
    found = {name: array.shape[0] if array.ndim else 0 for name, array in outputs.items()}
    if found != (expected := dict.fromkeys(wanted, rows)):
        raise BatchSizeError(f"the runtime returned rows {found}; expected {expected}")
