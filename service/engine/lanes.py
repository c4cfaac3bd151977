"""Lanes: threads of one device that run batches, shared fairly by all graphs.

A lane that is free takes the next batch itself, without a turn of the event loop in between; one that finds nothing
sleeps until it is called. Among graphs with work, the one whose batches have cost least so far goes first (start-time
fair queueing, Goyal, Vin and Cheng, 1996), so no model starves another, however many requests it has.
"""

import asyncio
import threading
import time
from typing import Protocol

from service.engine.observer import EngineObserver

_JOIN_S = 5.0  # a run cannot be interrupted; a lane that hangs in one dies with the process


class Task(Protocol):
    """A batch that was taken from a queue."""

    def run(self) -> None:
        """Run it and answer its callers. What it raises ends the lane."""


class Work(Protocol):
    """A queue that lanes take batches from. Lanes call everything but `abandon` under their lock."""

    def ready_at(self) -> float | None:
        """When its next batch should start (monotonic seconds); None if nothing waits."""

    def take(self, now: float) -> tuple[Task, float] | None:
        """The next batch and the lane time that it should take, in seconds; None if nobody wants it any more."""

    def abandon(self) -> None:
        """No lane is left: nothing that waits will ever run."""


class Lanes:
    """The threads of one device.

    Args:
        count: Batches that run at once.
        observer: Hears how many lanes are busy.
    """

    def __init__(self, count: int, observer: EngineObserver) -> None:
        self.count = count
        self.lock = threading.Lock()
        self.stopping = False
        self._observer = observer
        self._called = threading.Condition(self.lock)
        self._closed = False
        self._busy: set[int] = set()  # idents of the threads that run something
        self._cost: dict[Work, float] = {}  # lane seconds that each queue was given, for those that have work
        self._past: dict[Work, float] = {}
        self._clock = 0.0
        self._alive = count
        self._threads = [threading.Thread(target=self._lane, name=f"lane-{i}", daemon=True) for i in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> int:
        """Lanes whose thread lives."""
        return self._alive

    @property
    def active(self) -> int:
        """Queues that have work waiting."""
        return len(self._cost)

    def call(self, work: Work) -> None:
        """Say, under the lock, that a queue has work: an idle lane takes it."""
        if work not in self._cost:
            # Time that a queue spent idle earns it no credit over those that were busy.
            self._cost[work] = max(self._past.pop(work, 0.0), self._clock)
        self._called.notify()

    def refuse(self) -> None:
        """Take no new work from now on; what waits still runs."""
        with self.lock:
            self.stopping = True

    async def close(self) -> None:
        """Let every lane finish its batch and end."""
        with self.lock:
            self.stopping = self._closed = True
            self._called.notify_all()
        until = time.monotonic() + _JOIN_S
        for thread in self._threads:
            await asyncio.to_thread(thread.join, max(0.0, until - time.monotonic()))

    def _lane(self) -> None:
        try:
            while (task := self._next()) is not None:
                task.run()
        finally:
            self._end()

    def _next(self) -> Task | None:
        with self.lock:
            while not self._closed:
                task, wait_s = self._choose(time.monotonic())
                if task is not None:
                    self._mark_busy(True)
                    if self._cost:
                        self._called.notify()  # there is more: another lane may be asleep
                    return task
                self._mark_busy(False)
                self._called.wait(wait_s)
            return None

    def _choose(self, now: float) -> tuple[Task | None, float | None]:
        """A batch to run, or how long to sleep (None: until called)."""
        soonest: float | None = None
        for work in sorted(self._cost, key=self._cost.__getitem__):
            ready_at = work.ready_at()
            if ready_at is None:
                self._past[work] = self._cost.pop(work)
            elif ready_at > now:
                soonest = ready_at if soonest is None else min(soonest, ready_at)
            elif (taken := work.take(now)) is not None:
                task, seconds = taken
                self._clock = self._cost[work]
                self._cost[work] += seconds
                if work.ready_at() is None:
                    self._past[work] = self._cost.pop(work)
                return task, None
        return None, None if soonest is None else max(0.0, soonest - now)

    def _mark_busy(self, busy: bool) -> None:
        lane, before = threading.get_ident(), len(self._busy)
        (self._busy.add if busy else self._busy.discard)(lane)
        if len(self._busy) != before:
            self._observer.lanes_busy(len(self._busy), self.count)

    def _end(self) -> None:
        with self.lock:
            self._mark_busy(False)
            self._alive -= 1
            left = [] if self._alive or self._closed else [*self._cost]
        for work in left:
            work.abandon()
