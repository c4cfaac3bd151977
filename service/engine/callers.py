"""The requests that have no answer yet, and how they get one."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence

from service.engine.batch import Outcome
from service.engine.deadlines import Deadlines
from service.engine.jobs import Answer, Job
from service.errors import DeadlineError, RuntimeFailedError, ServiceError

_MOST_LEARNT_S = 1.0  # from one job: behind a run that hangs all of them are late by any amount


class Callers:
    """Answers the callers of one graph. Lives on the event loop; `deliver` and `fail_later` may come from any thread.

    Args:
        name: Of the graph, for messages.
        loop: The event loop.
        learn: Hears by how many seconds the expectation of each job with a deadline was too short.
    """

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop, learn: Callable[[Job, float], None]) -> None:
        self.pending: set[Job] = set()
        self._name = name
        self._loop = loop
        self._learn = learn
        self._deadlines = Deadlines(loop, self._expire)

    def add(self, job: Job) -> None:
        """A job waits for an answer from now on."""
        self.pending.add(job)
        if job.deadline is not None:
            job.watch = self._deadlines.add(job)

    def remove(self, job: Job) -> bool:
        """A job waits no more, whatever became of it; whether it did wait."""
        if job not in self.pending:
            return False
        self.pending.remove(job)
        if job.watch is not None:
            self._deadlines.remove(job.watch)
        return True

    def deliver(self, outcomes: Sequence[Outcome]) -> None:
        """Answer on the loop, where the callers are."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its callers with it
            self._loop.call_soon_threadsafe(self.settle, outcomes)

    def drop(self, jobs: Sequence[Job], back_by: float) -> None:
        """Tell those whom no lane will run, from any thread, and learn from it.

        Args:
            jobs: Theirs.
            back_by: When they would have been answered; monotonic seconds.
        """
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its callers with it
            self._loop.call_soon_threadsafe(self._drop, jobs, back_by)

    def fail_later(self, error: ServiceError) -> None:
        """Fail all of them, from any thread."""
        with contextlib.suppress(RuntimeError):  # the loop is closed, and its callers with it
            self._loop.call_soon_threadsafe(self.fail, error)

    def settle(self, outcomes: Sequence[Outcome]) -> None:
        """Answer those who still wait."""
        for job, outcome in outcomes:
            if job.future.done():
                continue  # the caller has left, or its deadline has passed
            if isinstance(outcome, dict):
                self._hand_over(job, outcome)
            elif isinstance(outcome, ServiceError):
                job.future.set_exception(outcome)
            else:
                error = RuntimeFailedError(f"{self._name} failed on this input: {type(outcome).__name__}: {outcome}")
                error.__cause__ = outcome
                job.future.set_exception(error)

    def fail(self, error: ServiceError) -> None:
        """Fail all who wait."""
        self.settle([(job, error) for job in self.pending])

    def late(self, job: Job) -> DeadlineError:
        """What a job is told whose answer is too late, or would be."""
        if job.deadline is not None and time.monotonic() < job.deadline:
            return DeadlineError(
                f"{self._name}: the answer for {job.rows} images could not be there before the deadline"
            )
        return DeadlineError(f"{self._name}: the deadline passed before the answer for {job.rows} images was there")

    async def drained(self, timeout_s: float) -> None:
        """Wait until all have an answer; those that have none by then stay."""
        futures = [job.future for job in self.pending if not job.future.done()]
        if futures:
            await asyncio.wait(futures, timeout=timeout_s)

    def close(self) -> None:
        """Watch no deadline any more."""
        self._deadlines.close()

    def _expire(self, job: Job) -> None:
        self._drop([job], time.monotonic())

    def _drop(self, jobs: Sequence[Job], back_by: float) -> None:
        for job in jobs:
            if not job.future.done():
                self._teach(job, back_by)
                self.settle([(job, self.late(job))])

    def _teach(self, job: Job, answered: float) -> None:
        self._learn(job, min(answered - job.expected, _MOST_LEARNT_S))

    def _hand_over(self, job: Job, answer: Answer) -> None:
        if job.deadline is not None:
            now = time.monotonic()
            self._teach(job, now)
            if job.deadline < now:
                job.future.set_exception(self.late(job))
                return
        job.future.set_result(answer)
