"""One graph's queue: callers hand in arrays and await arrays; lanes take batches. Knows no HTTP, ONNX or images."""

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from service.engine.batch import Batch, Outcome
from service.engine.fair_queue import FairQueue
from service.engine.forecast import Forecast
from service.engine.invariance import NO_PADDING, Padding
from service.engine.jobs import Job
from service.engine.lanes import Lanes
from service.engine.observer import Ending, EngineObserver, Source
from service.engine.runtimes.base import Runtime
from service.errors import (
    DeadlineError,
    ModelUnavailableError,
    OverloadedError,
    RuntimeFailedError,
    ServiceError,
    StoppingError,
)

Array = NDArray[Any]

_RETRY_S = 1.0  # as long as nothing has been measured
_ENDINGS: dict[type[ServiceError], Ending] = {
    OverloadedError: "overloaded",
    DeadlineError: "deadline",
    StoppingError: "stopping",
}


@dataclass(frozen=True)
class Limits:
    """How a graph is batched.

    Attributes:
        max_batch_size: Images of one run, of which padding makes no more.
        queue_images: Images that may wait.
        max_wait_s: How long an idle lane waits for a fuller batch, from the first request on.
        padding: What makes a row's bytes independent of its batch; see `find_padding`.
    """

    max_batch_size: int
    queue_images: int
    max_wait_s: float = 0.0
    padding: Padding = NO_PADDING


class Batcher:
    """The queue of one graph in front of the lanes of its device.

    Args:
        source: Model and graph, for messages and metrics.
        runtime: Runs the graph.
        lanes: The device's threads.
        limits: See `Limits`.
        observer: Hears what happens.
    """

    def __init__(
        self, source: Source, runtime: Runtime, lanes: Lanes, limits: Limits, observer: EngineObserver
    ) -> None:
        self.source = source
        self.limits = limits
        self.forecast = Forecast()
        self._runtime = runtime
        self._lanes = lanes
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._queue = FairQueue()
        self._opened_at = 0.0
        self._pending: set[Job] = set()

    async def run(
        self, inputs: Mapping[str, Array], outputs: Sequence[str], deadline: float | None = None
    ) -> dict[str, Array]:
        """Run the graph on a request's rows, together with those of other requests.

        Args:
            inputs: Arrays with the same first axis n >= 1, which must not change meanwhile.
            outputs: Names of the outputs that are wanted.
            deadline: Loop time after which nobody wants the answer.

        Returns:
            The outputs, first axis n.

        Raises:
            OverloadedError: On arrival, if too many images wait.
            DeadlineError: On arrival, if the deadline cannot be met; later, if it passes.
            RuntimeFailedError: If the graph cannot be run on this input.
            StoppingError: If the lanes are closing.
            ModelUnavailableError: If no lane is left.
        """
        now = time.monotonic()
        until = None if deadline is None else now + deadline - self._loop.time()
        job = Job(inputs, outputs, now, until, self._loop.create_future())
        self._pending.add(job)
        timer: asyncio.TimerHandle | None = None
        ending: Ending = "failed"
        try:
            self._admit(job)
            if deadline is not None:
                timer = self._loop.call_at(deadline, self._expire, job)
            answer = await job.future
            ending = "ok"
        except asyncio.CancelledError:
            ending = "cancelled"
            raise
        except ServiceError as error:
            ending = _ENDINGS.get(type(error), "failed")
            raise
        else:
            return answer
        finally:
            self._pending.discard(job)
            if ending != "ok":
                self._drop(job)
            if timer is not None:
                timer.cancel()
            self._observer.ended(self.source, ending)

    async def drained(self, timeout_s: float) -> None:
        """Wait until every caller has an answer; those that have none by then get StoppingError."""
        futures = [job.future for job in self._pending if not job.future.done()]
        if futures:
            await asyncio.wait(futures, timeout=timeout_s)
        self._settle_pending(StoppingError(f"{self._name} had no time to answer before the service stopped"))

    def ready_at(self) -> float | None:
        """See `Work`: at once with a full batch, else when the window of the first request closes."""
        if not self._queue.images:
            return None
        full = self._queue.images >= self.limits.max_batch_size
        return self._opened_at if full else self._opened_at + self.limits.max_wait_s

    def take(self, now: float) -> tuple[Batch, float] | None:
        """See `Work`."""
        slices, late = self._queue.take(self.limits.max_batch_size, now)
        self._opened_at = now
        if late:
            self._deliver([(job, self._late(job)) for job in late])
        self._observer.queued(self.source, self._queue.images)
        for piece in slices:
            if piece.start == 0:
                self._observer.waited(self.source, now - piece.job.arrived)
        if not slices:
            return None
        seconds = self.forecast.seconds(sum(piece.rows for piece in slices))
        return Batch(slices, self._runtime, self.limits.padding, self._lanes.lock, self._ran, self._deliver), seconds

    def abandon(self) -> None:
        """See `Work`."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its callers with it
            self._loop.call_soon_threadsafe(self._settle_pending, self._unavailable())

    @property
    def _name(self) -> str:
        return f"model {self.source.model!r}, graph {self.source.graph!r}"

    def _admit(self, job: Job) -> None:
        with self._lanes.lock:
            if self._lanes.stopping:
                raise StoppingError("the service is shutting down; ask another instance")
            if not self._lanes.alive:
                raise self._unavailable()
            self._check_room(job)
            self._check_deadline(job)
            if not self._queue.images:
                self._opened_at = job.arrived
            self._queue.push(job)
            self._observer.queued(self.source, self._queue.images)
            self._lanes.call(self)

    def _check_room(self, job: Job) -> None:
        waiting, limit = self._queue.images, self.limits.queue_images
        if waiting and waiting + job.rows > limit:
            seconds = self._elapsing(min(waiting, waiting + job.rows - limit)) or _RETRY_S
            raise OverloadedError(
                f"{waiting} images wait for {self._name}, of at most {limit}; this request has {job.rows} more",
                retry_after_s=seconds,
            )

    def _check_deadline(self, job: Job) -> None:
        if job.deadline is None:
            return
        left = job.deadline - job.arrived
        turns = -(-job.rows // self.limits.max_batch_size)
        ahead = min(self._queue.images, self._queue.jobs * turns * self.limits.max_batch_size)
        needed = self._elapsing(ahead + job.rows)
        # What would start at once is tried whatever was measured: one slow run must not refuse everybody for ever.
        hopeless = needed > left and (ahead or turns > 1)
        if left <= 0 or hopeless:
            raise DeadlineError(
                f"{self._name} would answer in about {needed * 1000:.0f} ms; "
                f"the deadline is in {left * 1000:.0f} ms: send it later, or allow more time",
                retry_after_s=self._elapsing(ahead) or None,
            )

    def _elapsing(self, images: int) -> float:
        """Seconds until so many of this queue's images have run, sharing the lanes with the other queues."""
        shares = max(1, self._lanes.active)
        return self.forecast.seconds(images) * shares / max(1, self._lanes.alive)

    def _expire(self, job: Job) -> None:
        self._settle(job, self._late(job))

    def _late(self, job: Job) -> DeadlineError:
        return DeadlineError(f"{self._name}: the deadline passed before the answer for {job.rows} images was there")

    def _unavailable(self) -> ModelUnavailableError:
        return ModelUnavailableError(f"{self._name} has no thread left to run it; restart the service")

    def _drop(self, job: Job) -> None:
        """Nobody waits for this job any more: what no lane has taken will never run."""
        with self._lanes.lock:
            job.open = False
            self._queue.discard(job)
            self._observer.queued(self.source, self._queue.images)

    def _ran(self, images: int, padding: int, seconds: float) -> None:
        with self._lanes.lock:
            self.forecast.learn(images, seconds)
        self._observer.batch(self.source, images, padding, seconds)

    def _deliver(self, outcomes: Sequence[Outcome]) -> None:
        """From any thread: answer on the loop, where the callers are."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its callers with it
            self._loop.call_soon_threadsafe(self._settle_all, outcomes)

    def _settle_pending(self, error: ServiceError) -> None:
        for job in self._pending:
            self._settle(job, error)

    def _settle_all(self, outcomes: Sequence[Outcome]) -> None:
        for job, outcome in outcomes:
            self._settle(job, outcome)

    def _settle(self, job: Job, outcome: dict[str, Array] | BaseException) -> None:
        if job.future.done():
            return  # the caller has left, or its deadline has passed
        if isinstance(outcome, dict):
            job.future.set_result(outcome)
        elif isinstance(outcome, ServiceError):
            job.future.set_exception(outcome)
        else:
            error = RuntimeFailedError(f"{self._name} failed on this input: {type(outcome).__name__}: {outcome}")
            error.__cause__ = outcome
            job.future.set_exception(error)
