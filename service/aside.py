"""A thread beside the event loop for what takes a while, with another one in its place should it not come back.

Opening a file of a mount whose server is gone, or compiling a graph, may last for ever, and nothing can end it. It must
not keep all that comes behind it from being done.
"""

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_Works = queue.SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]


class OverdueError(Exception):
    """Something was given up: it does not end."""


class Aside:
    """Does one thing after the other. Lives on an event loop.

    Args:
        name: Of its thread.
        patience_s: Seconds that something may take which can be given up.
    """

    def __init__(self, name: str, patience_s: float) -> None:
        self.patience_s = patience_s
        self._name = name
        self._given_up: dict[Hashable, Future[Any]] = {}  # what does not end, by what it is
        self._cancelled: list[threading.Thread] = []  # they may have something under way that nobody waits for
        self._works: _Works = queue.SimpleQueue()
        self._begin()

    async def run(
        self, work: Callable[[], T], what: Hashable | None = None, discard: Callable[[T], None] | None = None
    ) -> T:
        """Wait until it is done.

        Args:
            work: The function. Its thread is left to it if it is given up.
            what: It is; the same is not begun again before it has ended. None: it is never given up.
            discard: Given what it returned, on any thread, if nobody waits for that any more.

        Raises:
            OverdueError: If it took longer than `patience_s`, or did so before and has not ended since.
        """
        self._given_up = {what: future for what, future in self._given_up.items() if not future.done()}
        if what in self._given_up:
            raise OverdueError
        future: Future[T] = Future()
        awaited = asyncio.wrap_future(future)
        self._works.put((work, future))
        try:
            await asyncio.wait((awaited,), timeout=None if what is None else self.patience_s)
        except asyncio.CancelledError:
            self._cancelled.append(self._thread)
            self._leave(future, awaited, discard)
            raise
        if awaited.done():
            return awaited.result()
        self._leave(future, awaited, discard)
        if not future.done():
            self._given_up[what] = future
        raise OverdueError

    async def close(self, timeout_s: float) -> None:
        """Finish what is under way, for up to so many seconds; what takes longer, or was given up, is left behind."""
        until = time.monotonic() + timeout_s
        self._works.put(None)
        for thread in (*self._cancelled, self._thread):
            await asyncio.to_thread(thread.join, max(0.0, until - time.monotonic()))

    def _leave(self, future: Future[T], awaited: asyncio.Future[T], discard: Callable[[T], None] | None) -> None:
        """To its thread; another one does what waits behind it."""
        awaited.cancel()
        if not future.cancel() and discard is not None:
            future.add_done_callback(lambda done: _discard(done, discard))
        left, self._works = self._works, queue.SimpleQueue()
        self._begin()
        with contextlib.suppress(queue.Empty):
            while True:
                self._works.put(left.get_nowait())
        left.put(None)  # for when its thread comes back

    def _begin(self) -> None:
        self._thread = threading.Thread(target=_live, args=(self._works,), name=self._name, daemon=True)
        self._thread.start()


def _live(works: _Works) -> None:
    while (one := works.get()) is not None:
        work, future = one
        if not future.set_running_or_notify_cancel():
            continue
        try:
            future.set_result(work())
        except BaseException as error:  # whoever waits for it is to have it
            future.set_exception(error)
        del work, future, one  # or they would live on until the next


def _discard(done: Future[T], discard: Callable[[T], None]) -> None:
    if done.exception() is None:
        discard(done.result())
