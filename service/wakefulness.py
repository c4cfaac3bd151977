"""An event loop that does not fall asleep between two requests of a client that waits for one answer and asks again.

What it gained on a virtual machine: docs/decisions/0004-what-the-engine-spends.md. Linux' guest halt polling is the
same thought one layer below (Documentation/virt/guest-halt-polling.rst).
"""

import asyncio
import os
import time


class Wakefulness:
    """Keeps the event loop looking for a moment after an answer, if the request before came as soon after its own.

    It lets everybody else on its core pass, and it ends with the next request, whoever sends it: a client that takes
    longer costs one such moment, and then none until it has been as quick again.

    Args:
        limit_s: The moment; 0 is none.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._answered_at = 0.0
        self._until = 0.0
        self._is_quick = False
        self._looking = False

    def asked(self) -> None:
        """A request has come."""
        self._until = 0.0
        self._is_quick = time.perf_counter() - self._answered_at <= self._limit_s

    def answered(self, alone: bool) -> None:
        """It was answered.

        Args:
            alone: To a client besides whom there seems to be none.
        """
        self._answered_at = time.perf_counter()
        if not (alone and self._is_quick and self._limit_s):
            return
        self._until = self._answered_at + self._limit_s
        if not self._looking:
            self._looking = True
            self._look(asyncio.get_running_loop())

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Another turn of the loop, in which it sees what has come."""
        if time.perf_counter() < self._until:
            os.sched_yield()
            loop.call_soon(self._look, loop)
        else:
            self._looking = False
