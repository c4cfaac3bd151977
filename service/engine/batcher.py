"""One graph's queue: callers hand in arrays and await arrays; lanes take batches. Knows no HTTP, ONNX or images."""

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from numpy.typing import NDArray

from service.engine.admission import Admission, Limits
from service.engine.batch import Batch, Outcome
from service.engine.callers import Callers
from service.engine.cost import CostModel
from service.engine.fair_queue import FairQueue
from service.engine.jobs import Answer, Job, Slice
from service.engine.keeper import Keeper
from service.engine.lanes import Lanes
from service.engine.observer import Ending, EngineObserver, Source
from service.engine.places import Place
from service.engine.rows import Rows
from service.engine.runtimes.base import Runtime
from service.engine.timings import Timings
from service.engine.watchdog import Watchdog
from service.errors import (
    DeadlineError,
    ModelUnavailableError,
    OverloadedError,
    RuntimeFailedError,
    ServiceError,
    StoppingError,
)

__all__ = ["Batcher", "Limits"]

Array = NDArray[Any]
Refused = TypeVar("Refused", bound=ServiceError)

_SAME_MOMENT_S = 0.001  # nobody came since a request was admitted: what was found then still holds
_WORTH_A_LANE_S = 0.001  # many times what it costs to wake one and to run a batch more
_SLOW_RUN = 1.3  # times what a run should take; see docs/decisions/0004-what-the-engine-spends.md
_FAR_TOO_LONG = 4.0  # times the limit of a run on the event loop, failures and repetitions included
_ENDINGS: dict[type[ServiceError], Ending] = {
    OverloadedError: "overloaded",
    DeadlineError: "deadline",
    StoppingError: "stopping",
}


class Batcher:
    """The queue of one graph in front of the lanes of its device.

    Args:
        source: Model and graph, for messages and metrics.
        runtime: Runs the graph; the batcher closes it.
        lanes: The device's threads.
        limits: See `Limits`.
        observer: Hears what happens.
        cost: What a run takes; left out, nothing is known before the first.
        reopen: Opens the graph anew, checks it, and gives a runtime to replace one that hangs.
    """

    def __init__(
        self,
        source: Source,
        runtime: Runtime,
        lanes: Lanes,
        limits: Limits,
        observer: EngineObserver,
        cost: CostModel | None = None,
        reopen: Callable[[], Runtime] | None = None,
    ) -> None:
        self.source = source
        self.limits = limits
        self._name = f"model {source.model!r}, graph {source.graph!r}"
        self.cost = cost or CostModel()
        self._lanes = lanes
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()  # of the loop
        self._queue = FairQueue()
        self._opened_at = 0.0
        self._renewed_at = 0.0  # when its runtime was opened anew
        self._admission = Admission(self._name, self, self._queue, self.cost, lanes)
        self._calling = False  # a lane is about to be called
        self._came = 0  # requests so far, and promises to those on their way
        # What was admitted last: rows, deadline, requests so far, when, and the seconds that it should take.
        self._admitted: tuple[int, float | None, int, float, float] = (0, None, -1, 0.0, 0.0)
        self._callers = Callers(self._name, self._loop, self._learn)
        self._keeper = Keeper(runtime, lanes.lock, reopen)
        self._watchdog = Watchdog(self._loop, self._keeper, self._callers.pending, self.cost, limits.hang_s, self._hung)

    @property
    def queued_images(self) -> int:
        """Images that wait for a lane."""
        return self._queue.images

    @property
    def healthy(self) -> tuple[bool, str]:
        """Whether the graph can be run now, and why not."""
        if self._keeper.broken is not None:
            return False, f"{self._name}: its runtime hung and could not be opened again: {self._keeper.broken}"
        if self._keeper.renewing:
            return False, f"{self._name}: its runtime hung and is being opened again"
        return True, ""

    def admit(self, rows: int, deadline: float | None = None) -> None:
        """Find out whether a request would be refused, before anything is done for it.

        Args:
            rows: How many it will have.
            deadline: Loop time after which nobody wants the answer.

        Raises:
            ServiceError: As `run` does on arrival.
        """
        try:
            with self._lanes.lock:
                expected = self._check(rows, None if deadline is None else deadline - self._loop.time())
                self._admitted = (rows, deadline, self._came, time.monotonic(), expected)
        except ServiceError as error:
            self.refused(error)
            raise

    def promise(self, rows: int, left: float | None) -> Place | OverloadedError | None:
        """A place for a request that is on its way to `run`, or the error with which others are in its way.

        The error is counted, since it is to be answered. None is for whatever else `run` would refuse: it says why.

        Args:
            rows: How many it has.
            left: Seconds until its deadline; None if it has none.
        """
        with self._lanes.lock:
            if self._unable() is not None or not self._keeper.usable:
                return None
            expected, error = self._admission.judge(rows, left, self.limits)
        if error is None:
            self._came += 1
            return Place(self._admission.places, rows, time.monotonic() + expected)
        return self.refused(error) if isinstance(error, OverloadedError) else None

    def left_to_do_s(self) -> float:
        """Seconds for which this process' share of the lanes has enough to do with what waits; 0 if it cannot run."""
        with self._lanes.lock:
            queued_s = self.cost.runs(self._queue.images, self.limits.max_batch_size)
            return queued_s / self._lanes.allowed if self._keeper.usable else 0.0

    def refused(self, error: Refused) -> Refused:
        """Count an error for which a request is not let in; for whoever asks to raise, or to answer."""
        self._observer.ended(self.source, _ENDINGS.get(type(error), "failed"))
        return error

    async def run(
        self,
        inputs: Mapping[str, Rows],
        outputs: Sequence[str],
        deadline: float | None = None,
        timings: Timings | None = None,
        *,
        alone: bool = False,
        place: Place | None = None,
    ) -> Answer:
        """Run the graph on a request's rows, together with those of other requests.

        Args:
            inputs: Arrays with the same first axis n >= 1, which must not change meanwhile; or what makes them.
            outputs: Names of the outputs that are wanted.
            deadline: Loop time after which nobody wants the answer.
            timings: Where the time went is added to it.
            alone: Nobody else seems to be asking: there is no need to wait for who comes in the same turn of the loop.
            place: That it was promised, here or elsewhere; where it was here, others are not in its way.

        Returns:
            The outputs, first axis n.

        Raises:
            OverloadedError: On arrival, if too many images wait, or so many that the deadline could not be met.
            DeadlineError: On arrival, if even an idle service could not meet the deadline; later, if it passes.
            RuntimeFailedError: If the graph cannot be run on this input.
            StoppingError: If the lanes are closing.
            ModelUnavailableError: If no lane is left, or no runtime.
        """
        now = time.monotonic()
        until = None if deadline is None else now + deadline - self._loop.time()
        job = Job(inputs, outputs, now, until, self._loop.create_future())
        ending: Ending = "failed"
        try:
            self._enter(job, deadline, alone, place)
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
            self._leave(job, ending)
            if timings is not None:
                job.tell(timings)
            del job  # its future holds the error, which holds this frame

    async def drained(self, timeout_s: float) -> None:
        """Wait until every caller has an answer; those that have none by then get StoppingError."""
        await self._callers.drained(timeout_s)
        self._callers.fail(StoppingError(f"{self._name} had no time to answer before the service stopped"))

    def retire(self) -> None:
        """No caller will come any more. On the event loop, where the timers are.

        A run that is under way goes on being watched: its lane is needed by others.
        """
        self._callers.close()
        self._lanes.forget(self)

    def close(self) -> None:
        """After `retire`, on any thread: the runtime is closed when the last batch is back."""
        self._keeper.close()

    def ready_at(self) -> float | None:
        """See `Work`: at once with a full batch, else when the window of the first request closes."""
        if not self._queue.images or not self._keeper.usable:
            return None
        full = self._queue.images >= self.limits.max_batch_size
        return self._opened_at if full else self._opened_at + self.limits.max_wait_s

    def take(self, now: float) -> tuple[Batch, float] | None:
        """See `Work`."""
        return self._take(self._share(), now)

    def _take(self, most: int, now: float) -> tuple[Batch, float] | None:
        run_s = self.cost.seconds(self.limits.padding.rows(most))
        # Where a lane sleeps nobody has to give way: whoever could start at once is tried, whatever was measured.
        slices, late = self._queue.take(most, now, None if self._asleep() > 0 else now + _SLOW_RUN * run_s)
        if not self._queue.images:
            self._opened_at = now
        if late:
            for job in late:
                job.open = False  # its rows in other batches need not run either
            self._callers.drop(late, now + run_s)
        if not slices:
            return None
        rows = 0
        for job, start, stop in slices:
            rows += stop - start
            if not start:
                job.started = now
        return self._lend(slices), self.cost.seconds(self.limits.padding.rows(rows))

    def _lend(self, slices: Sequence[Slice]) -> Batch:
        batch = Batch(slices, self._keeper.current, self.limits.padding, self._lanes.lock, self)
        self._keeper.lend(batch)
        return batch

    def _share(self) -> int:
        """Rows of the next batch: lanes that sleep get as many, if that is worth waking them."""
        lanes, largest, asleep = self._lanes, self.limits.max_batch_size, self._asleep()
        if asleep <= 0 or lanes.queues > 1:
            return largest
        share = self.limits.padding.rows(-(-self._queue.images // (asleep + 1)))
        return share if share < largest and self.cost.seconds(share) >= _WORTH_A_LANE_S else largest

    def _asleep(self) -> int:
        """Lanes that could take another batch beside the one that is being taken."""
        lanes = self._lanes
        return min(lanes.idle, lanes.allowed - lanes.busy - 1)  # the one that takes this batch is not busy yet

    def backlog_s(self) -> float:
        """See `Work`."""
        return self.cost.runs(self._queue.images + self._admission.places.rows, self.limits.max_batch_size)

    def abandon(self) -> None:
        """See `Work`."""
        self._callers.fail_later(self._unavailable())

    def ran(self, batch: Batch, images: int, padding: int, seconds: float, gathering_s: float) -> None:  # noqa: ARG002
        """See `Owner`."""
        rows, lane_s = images + padding, gathering_s + seconds
        with self._lanes.lock:
            self._lanes.charge(self, lane_s - self.cost.seconds(rows))
            self.cost.learn(rows, lane_s)
        self._observer.batch(self.source, images, padding, seconds)

    def back(self, batch: Batch, outcomes: Sequence[Outcome]) -> None:
        """See `Owner`."""
        self._keeper.give_back(batch)
        if not outcomes:
            return
        if batch.thread == self._thread:
            self._callers.settle(outcomes)
        else:
            self._callers.deliver(outcomes)

    def shrink(self, rows: int) -> None:
        """See `Owner`."""
        if rows < self.limits.max_batch_size:
            self.limits = dataclasses.replace(self.limits, max_batch_size=rows)
            self._observer.shrunk(self.source, rows)

    def _enter(self, job: Job, deadline: float | None, alone: bool, place: Place | None) -> None:
        with self._lanes.lock:
            if place is not None and self._redeem(place, job):
                job.expected = place.expected
            else:
                job.expected = job.arrived + self._expected_s(job, deadline)
            self._came += 1
            batch = self._past_the_queue(job) if alone and not self._queue.images else None
            if batch is None:
                if not self._queue.images:
                    self._opened_at = job.arrived
                self._queue.push(job)
        if batch is not None:
            self._run_at_once(batch)
            return
        if not self._calling:
            self._calling = True
            self._loop.call_soon(self._call)
        self._callers.add(job)
        self._watchdog.watch()

    def _redeem(self, place: Place, job: Job) -> bool:
        """Take it back, and say whether it was promised here, for this, and can be kept."""
        same = place.rows == job.rows and place.is_one_of(self._admission.places)
        place.give_up()
        in_time = (
            job.deadline is None or place.expected <= job.deadline
        )  # which may be earlier than it was promised for
        return same and in_time and self._unable() is None

    def _expected_s(self, job: Job, deadline: float | None) -> float:
        *asked, noted, expected = self._admitted
        if asked == [job.rows, deadline, self._came] and job.arrived - noted <= _SAME_MOMENT_S:
            return expected
        return self._check(job.rows, None if job.deadline is None else job.deadline - job.arrived)

    def _past_the_queue(self, job: Job) -> Batch | None:
        expected = self._short_s(job.rows)
        if not expected:
            return None
        job.started, job.taken = job.arrived, job.rows
        self._lanes.ran_elsewhere(self, expected)
        return self._lend([(job, 0, job.rows)])

    def _call(self) -> None:
        """After all that came in this turn of the loop: a lane that is called for the first of thirty takes one.

        And then it fights the loop for Python's lock; see docs/decisions/0004-what-the-engine-spends.md.
        """
        self._calling = False
        with self._lanes.lock:
            alive = self._lanes.alive
            batch = self._take_at_once() if alive else None
            if alive and self._queue.images:
                self._lanes.call(self)
        if batch is not None:
            self._run_at_once(batch)
        if not alive:  # the last one has died meanwhile, when this queue was not yet known to have work
            self.abandon()

    def _take_at_once(self) -> Batch | None:
        images = self._queue.images
        taken = self._take(images, time.monotonic()) if images and self._short_s(images) else None
        if taken is None:
            return None
        batch, expected = taken
        self._lanes.ran_elsewhere(self, expected)
        return batch

    def _short_s(self, images: int) -> float:
        """Seconds of a run that takes less than a lane needs to wake up, while no lane runs anything; else 0."""
        lanes, limits = self._lanes, self.limits
        if not limits.at_once_s or lanes.idle < lanes.alive or lanes.queues or not self._keeper.usable:
            return 0.0
        if images > limits.max_batch_size or limits.max_wait_s or not lanes.allowance.is_left(time.monotonic()):
            return 0.0
        expected = self.cost.seconds(limits.padding.rows(images))
        return expected if expected <= limits.at_once_s else 0.0

    def _run_at_once(self, batch: Batch) -> None:
        begun = time.monotonic()
        try:
            batch.run()
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # its callers have been told
            self._loop.call_exception_handler({"message": f"{self._name}: a run failed", "exception": error})
        finally:
            now = time.monotonic()
            if now - begun > _FAR_TOO_LONG * self.limits.at_once_s:
                self._lanes.allowance.spend(begun, now - begun)

    def _leave(self, job: Job, ending: Ending) -> None:
        if self._callers.remove(job) and ending != "ok":
            with self._lanes.lock:  # nobody waits for it any more: what no lane has taken will never run
                job.open = False
                self._queue.discard(job)
        self._observer.ended(self.source, ending)

    def _check(self, rows: int, left: float | None) -> float:
        """Seconds until an answer, where there is a deadline."""
        error = self._unable()
        expected, error = (0.0, error) if error is not None else self._admission.judge(rows, left, self.limits)
        if error is None:
            return expected
        try:
            raise error
        finally:
            del error  # it holds this frame: a circle for each refusal, until the garbage collector stops everybody

    def _unable(self) -> ServiceError | None:
        """Why nobody is let in, whatever they ask."""
        lanes = self._lanes
        if lanes.stopping:
            return StoppingError("the service is shutting down; ask another instance")
        if not lanes.alive or not (self._keeper.usable or self._keeper.renewing):
            return self._unavailable()
        return None

    def _learn(self, job: Job, error_s: float) -> None:
        if self._keeper.usable and job.arrived >= self._renewed_at:  # waits for a new runtime could not be foreseen
            self._admission.learn(error_s)

    def _unavailable(self) -> ModelUnavailableError:
        if self._keeper.closed:
            return ModelUnavailableError(f"{self._name} has been unloaded; ask for another version")
        reason = self.healthy[1] if self._keeper.broken is not None else f"{self._name} has no thread left to run it"
        return ModelUnavailableError(f"{reason}; restart the service")

    def _hung(self, batch: Batch, seconds: float) -> None:
        batch.abandoned = True
        error = RuntimeFailedError(f"{self._name} hung: a run was given up after {seconds:.1f} s")
        self._callers.settle([(job, error) for job in batch.jobs])
        if batch.running_since is not None:  # else it has just come back, and its lane may run another batch by now
            batch.runtime.interrupt(batch.thread)
            self._lanes.replace(batch.thread)
        if batch.runtime is self._keeper.current:
            self._keeper.renew(self._renewed_from_thread)

    def _renewed_from_thread(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its callers with it
            self._loop.call_soon_threadsafe(self._renewed)

    def _renewed(self) -> None:
        if self._keeper.broken is not None:
            self._callers.fail(self._unavailable())
            return
        self._renewed_at = time.monotonic()
        self._observer.rebuilt(self.source, "hung")
        self._call()
