"""A bounded pool of threads for what would hold up the event loop: parsing, decoding and compressing."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

T = TypeVar("T")

SMALL = 1 << 15  # bytes or values that are dealt with in less time than it takes to hand them to a thread and back


class Workers:
    """Threads that share one queue."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="genserve-images")

    async def run(self, size: int, work: Callable[[], T]) -> T:
        """Do the work on a thread, or at once if its size (bytes or values to go through) is small."""
        if size <= SMALL:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._pool, copy_context().run, work)

    def close(self) -> None:
        """Wait for what is under way; drop the rest."""
        self._pool.shutdown(wait=True, cancel_futures=True)
