"""Threads for calls that may hang: unlike those of the standard pool, they do not keep the process from ending."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from queue import SimpleQueue
from typing import Any, TypeVar

from service.priority import give_way

T = TypeVar("T")
Work = tuple[Future[Any], Callable[[], Any]]


class Threads:
    """A few daemon threads that share one queue; each is started when it is first needed.

    Args:
        most: How many.
        name: Of each.
    """

    def __init__(self, most: int, name: str) -> None:
        self._most = most
        self._name = name
        self._started = 0
        self._starting = threading.Lock()
        self._queue: SimpleQueue[Work | None] = SimpleQueue()

    async def run(self, work: Callable[[], T]) -> T:
        """Do blocking work on a thread. Work that nobody waits for any more when its turn comes is left out."""
        return await asyncio.wrap_future(self.submit(work))

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """As `run`, for whoever waits on a thread."""
        future: Future[T] = Future()
        context = copy_context()
        self._queue.put((future, lambda: context.run(work)))
        with self._starting:
            if self._started < self._most:
                self._started += 1
                threading.Thread(target=self._live, name=self._name, daemon=True).start()
        return future

    def close(self) -> None:
        """Let each thread end when it has done what waits before this; they are not waited for."""
        for _ in range(self._started):
            self._queue.put(None)

    def _live(self) -> None:
        give_way()
        while (item := self._queue.get()) is not None:
            future, work = item
            if future.set_running_or_notify_cancel():
                _do(future, work)
            del item, future, work  # what they hold would live as long as the thread waits


def _do(future: Future[Any], work: Callable[[], Any]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:  # the caller's, whatever it is
        future.set_exception(error)
