"""One timer of the event loop for the deadlines of all requests, instead of one for each."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable

from service.engine.jobs import Job

_TICK_S = 0.001  # the resolution of uvloop: a shorter wait would spin
_SLACK = 64  # entries of answered requests that may stay in the heap, beyond as many as are open


class Deadlines:
    """Calls back for each request whose deadline passes before its answer is there. Lives on the event loop.

    Args:
        loop: The event loop.
        expire: Takes a job whose deadline has passed.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, expire: Callable[[Job], None]) -> None:
        self._loop = loop
        self._expire = expire
        self._numbers = itertools.count()
        self._open: dict[int, Job] = {}
        self._heap: list[tuple[float, int]] = []  # has no jobs: they would live on with their images
        self._timer: asyncio.TimerHandle | None = None
        self._rings_at = float("inf")

    def add(self, job: Job) -> int:
        """Watch a job that has a deadline.

        Returns:
            What `remove` is to be called with, once it has an answer of any kind.
        """
        assert job.deadline is not None
        number = next(self._numbers)
        self._open[number] = job
        heapq.heappush(self._heap, (job.deadline, number))
        if job.deadline < self._rings_at:
            self._arm(job.deadline)
        return number

    def remove(self, number: int) -> None:
        """Watch a job no more."""
        self._open.pop(number, None)
        if len(self._heap) > 2 * len(self._open) + _SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in self._open]
            heapq.heapify(self._heap)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._timer is not None:
            self._timer.cancel()
        self._open.clear()
        self._heap.clear()

    def _arm(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = deadline
        self._timer = self._loop.call_later(max(_TICK_S, deadline - time.monotonic()), self._ring)

    def _ring(self) -> None:
        now = time.monotonic()
        while self._heap and (self._heap[0][0] <= now or self._heap[0][1] not in self._open):
            job = self._open.pop(heapq.heappop(self._heap)[1], None)
            if job is not None:
                self._expire(job)
        self._timer, self._rings_at = None, float("inf")
        if self._heap:
            self._arm(self._heap[0][0])
