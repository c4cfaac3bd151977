"""Lanes: threads of one device that run batches, shared fairly by all graphs.

A lane that is free takes the next batch itself, without a turn of the event loop in between; one that finds nothing
sleeps until it is called. Among graphs with work, the one whose batches have cost least so far goes first (start-time
fair queueing, Goyal, Vin and Cheng, 1996), so no model starves another, however many requests it has.
"""

import asyncio
import threading
import time
from typing import Protocol

from service.engine.allowance import Allowance
from service.engine.neighbours import Neighbours, NoNeighbours
from service.priority import give_way

_JOIN_S = 5.0  # a run that does not end dies with the process
_LONG_S = 0.005  # a shorter run is over before another process could make use of its core
_LOOK_S = 0.02  # between two looks whether other processes have left a core
_OVERDUE_S = 1.0
_MOST_STUCK = 8  # threads that never came back, beyond which they are not replaced


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

    def backlog_s(self) -> float:
        """Lane time of all that waits or is about to, in seconds."""

    def abandon(self) -> None:
        """No lane is left: nothing that waits will ever run."""


class _Lane:
    """A thread, and what wakes it: a lock that it waits for, since that costs less than a condition."""

    __slots__ = ("called", "ends_at", "given_up", "is_long", "thread")

    def __init__(self) -> None:
        self.thread: threading.Thread
        self.called = threading.Lock()
        self.called.acquire()
        self.ends_at: float | None = None  # when its run should be over; None if it runs nothing
        self.is_long = False  # its run, so that other processes are told of it
        self.given_up = False  # it hangs, another has taken its place, and it ends when it comes back


class Lanes:
    """The threads of one device.

    Several processes on the same cores run no more long batches at once than there are cores, but each at least one.
    See docs/decisions/0009-workers-behave-as-one.md.

    Args:
        count: Batches that run at once.
        cores: Of the machine, if processes share them; None if nobody minds how many run.
        neighbours: Those processes.

    Attributes:
        allowance: For runs that are made on the event loop, without a lane, and turn out to be long.
    """

    def __init__(self, count: int, cores: int | None = None, neighbours: Neighbours | None = None) -> None:
        self.count = count
        self._cores = cores
        self._neighbours = neighbours or NoNeighbours()
        self._looking = False  # a lane that has no core looks for one
        self.lock = threading.Lock()
        self.allowance = Allowance()
        self.stopping = False
        self._closed = False
        self._idle: list[_Lane] = []  # the one that slept last is called first
        self._cost: dict[Work, float] = {}  # lane seconds that each queue was given, for those that have work
        self._past: dict[Work, float] = {}
        self._clock = 0.0
        self._lanes: list[_Lane] = []
        self._stuck: list[_Lane] = []
        self._threads: list[threading.Thread] = []  # of all lanes but the stuck ones: also of those that died
        with self.lock:
            for _ in range(count):
                self._start()

    @property
    def alive(self) -> int:
        """Lanes whose thread lives and does not hang."""
        return len(self._lanes)

    @property
    def busy(self) -> int:
        """Lanes that run a batch."""
        return sum(lane.ends_at is not None for lane in self._lanes)

    @property
    def idle(self) -> int:
        """Lanes that sleep."""
        return len(self._idle)

    @property
    def allowed(self) -> int:
        """Lanes that may run a batch now, as far as others leave cores: at least 1."""
        alive = len(self._lanes) or 1
        return alive if self._cores is None else max(1, min(alive, self._cores - self._neighbours.busy()))

    @property
    def spare(self) -> int:
        """Lanes that sleep and may be woken."""
        return min(len(self._idle), max(0, self.allowed - self._engaged))

    @property
    def _engaged(self) -> int:
        """Lanes that run a batch, but for those that should have ended long ago: a hung one is in nobody's way."""
        limit = time.monotonic() - _OVERDUE_S
        return sum([lane.ends_at is not None and lane.ends_at > limit for lane in self._lanes])

    @property
    def queues(self) -> int:
        """Queues that have work waiting."""
        return len(self._cost)

    def call(self, work: Work) -> None:
        """Say, under the lock, that a queue has work: an idle lane takes it."""
        if work not in self._cost:
            # Time that a queue spent idle earns it no credit over those that were busy.
            self._cost[work] = max(self._past.pop(work, 0.0), self._clock)
        if self._idle and (self.spare or not self._looking):
            self._idle.pop().called.release()

    def ran_elsewhere(self, work: Work, seconds: float) -> None:
        """Say, under the lock, that a queue has a batch of so many seconds run without a lane, while no queue waits.

        The clock goes on as if a lane had taken it: else the queue would owe all such time to whoever comes later.
        """
        self._clock = max(self._past.get(work, 0.0), self._clock)
        self._past[work] = self._clock + seconds

    def charge(self, work: Work, seconds: float) -> None:
        """Say, under the lock, how much more (or less) than expected a batch took."""
        for account in (self._cost, self._past):
            if work in account:
                account[work] += seconds

    def forget(self, work: Work) -> None:
        """A queue has gone for good."""
        with self.lock:
            self._cost.pop(work, None)
            self._past.pop(work, None)

    def wait_s(self, work: Work, ahead_s: float) -> float:
        """Seconds until a queue has had so much lane time, under the lock.

        Batches that run are finished first. Then the others have a turn for each of its own, as long as they have work.
        """
        if not ahead_s and (len(self._idle) == len(self._lanes) or self.spare):
            return 0.0
        lanes, now = self.allowed, time.monotonic()
        running, busy = 0.0, 0
        for lane in self._lanes:  # each arrival asks: once through for both
            if lane.ends_at is not None:
                busy += 1
                if lane.ends_at > now:
                    running += lane.ends_at - now
        if len(self._cost) > 1:
            own = ahead_s
            ahead_s += sum(min(other.backlog_s(), own) for other in self._cost if other is not work)
        return running / max(lanes, busy) + ahead_s / lanes

    def replace(self, thread: int) -> None:
        """Put a new thread in the place of one that hangs, by its identity; it ends when it comes back, if ever.

        Too many that never came back are not replaced: the process has to be.
        """
        with self.lock:
            for lane in self._lanes:
                if lane.thread.ident == thread:
                    lane.given_up = True
                    self._lanes.remove(lane)
                    self._threads.remove(lane.thread)
                    self._stuck.append(lane)
                    self._tell()
                    if len(self._stuck) <= _MOST_STUCK and not self._closed:
                        self._start()
                    self._wake()
                    break
            left = [] if self._lanes or self._closed else [*self._cost]
        for work in left:
            work.abandon()

    def refuse(self) -> None:
        """Take no new work from now on; what waits still runs."""
        with self.lock:
            self.stopping = True

    async def close(self) -> None:
        """Let every lane finish its batch and end."""
        with self.lock:
            self.stopping = self._closed = True
            while self._idle:
                self._idle.pop().called.release()
            threads = self._threads.copy()
        until = time.monotonic() + _JOIN_S
        for thread in threads:
            await asyncio.to_thread(thread.join, max(0.0, until - time.monotonic()))

    def _start(self) -> None:
        lane = _Lane()
        lane.thread = threading.Thread(target=self._live, args=(lane,), name="lane", daemon=True)
        lane.thread.start()  # it waits for the lock
        self._lanes.append(lane)
        self._threads.append(lane.thread)

    def _live(self, lane: _Lane) -> None:
        give_way()
        try:
            while (task := self._next(lane)) is not None:
                task.run()
                task = None  # or it would live on, with its images, as long as the lane sleeps
        finally:
            self._end(lane)

    def _next(self, lane: _Lane) -> Task | None:
        with self.lock:
            self._finish(lane)
            while not self._closed and not lane.given_up:
                if self._engaged >= self.allowed:
                    self._looking = True
                    self._sleep(lane, _LOOK_S)  # the cores of other processes may become free before a batch here ends
                    self._looking = False
                    continue
                now = time.monotonic()
                task, wait = self._choose(now)
                if task is not None:
                    self._begin(lane, now, wait)
                    self._wake()  # there may be more
                    return task
                self._sleep(lane, wait)
            return None

    def _wake(self) -> None:
        if self._cost and self.spare:
            self._idle.pop().called.release()

    def _begin(self, lane: _Lane, now: float, seconds: float) -> None:
        lane.ends_at = now + seconds
        if seconds >= _LONG_S:
            lane.is_long = True
            self._tell()

    def _finish(self, lane: _Lane) -> None:
        lane.ends_at = None
        if lane.is_long:
            lane.is_long = False
            self._tell()

    def _tell(self) -> None:
        self._neighbours.tell_busy(sum([lane.is_long for lane in self._lanes]))

    def _choose(self, now: float) -> tuple[Task | None, float]:
        """A batch and how long it should run; or none, and how long to sleep (-1: until called)."""
        soonest: float | None = None
        several = len(self._cost) > 1
        for work in sorted(self._cost, key=self._cost.__getitem__) if several else [*self._cost]:
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
                return task, seconds
        return None, -1.0 if soonest is None else max(0.0, soonest - now)

    def _sleep(self, lane: _Lane, seconds: float) -> None:
        self._idle.append(lane)
        self.lock.release()
        try:
            lane.called.acquire(timeout=seconds)
        finally:
            self.lock.acquire()
        if lane in self._idle:
            self._idle.remove(lane)
        else:
            lane.called.acquire(blocking=False)  # called just when its time was over

    def _end(self, lane: _Lane) -> None:
        with self.lock:
            self._finish(lane)
            if lane.given_up:
                self._stuck.remove(lane)
                return
            self._lanes.remove(lane)
            self._wake()
            left = [] if self._lanes or self._closed else [*self._cost]
        for work in left:
            work.abandon()
