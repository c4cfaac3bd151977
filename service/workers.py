"""A bounded pool of threads for what would hold up the event loop: parsing, decoding and compressing."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from service.priority import give_way

T = TypeVar("T")

SMALL = 1 << 15  # bytes or values that are dealt with in less time than it takes to hand them to a thread and back
_GAIN = 1 / 16  # about the last fifteen pieces of work of a kind count


class Workers:
    """Threads that share one queue, and know how long what waits in it should take."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="genserve-images", initializer=give_way)
        self._costs: dict[str, float] = {}  # seconds for each byte or value, by kind
        self._waiting_s = 0.0  # thread time of all that is not done

    @property
    def wait_s(self) -> float:
        """Seconds until new work should begin."""
        return self._waiting_s / self._threads

    def expected_s(self, size: int, kind: str) -> float:
        """Seconds that work should take on a thread; 0 where nothing is known, and where it would be done at once."""
        return 0.0 if size <= SMALL else size * self._costs.get(kind, 0.0)

    async def run(self, size: int, work: Callable[[], T], kind: str = "") -> T:
        """Do the work on a thread, or at once if it is small.

        Args:
            size: Bytes or values to go through.
            work: What to do.
            kind: Work of one kind costs the same for each byte or value; empty if nobody foresees it.
        """
        if size <= SMALL:
            return work()
        expected = self.expected_s(size, kind)
        self._waiting_s += expected
        try:
            found, seconds = await asyncio.get_running_loop().run_in_executor(
                self._pool, copy_context().run, _timed, work
            )
        finally:  # whoever leaves takes along what has not begun
            self._waiting_s -= expected
        if kind:
            cost = self._costs.get(kind, seconds / size)
            self._costs[kind] = cost + _GAIN * (seconds / size - cost)
        return found

    def close(self) -> None:
        """Wait for what is under way; drop the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    begun = time.perf_counter()
    return work(), time.perf_counter() - begun
