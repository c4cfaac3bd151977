"""A timer that is set for each request and next to never rings."""

import asyncio
from collections.abc import Callable


class LazyTimer:
    """Asks the event loop for a timer only if the one that it has would ring too late.

    Making and cancelling one of the loop's for each request costs more than all else that is done for a deadline. Here
    one is left to ring, and then looks whether somebody still waits for it, and when.

    Args:
        loop: The event loop.
    """

    __slots__ = ("_call", "_closed", "_handle", "_loop", "_rings_at", "_when")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._call: Callable[[], None] | None = None
        self._when = 0.0
        self._handle: asyncio.TimerHandle | None = None
        self._rings_at = 0.0
        self._closed = False

    def set(self, when: float, call: Callable[[], None]) -> None:
        """Have a function called once, in the place of what was set before.

        Args:
            when: Loop time in seconds.
            call: The function.
        """
        if self._closed:
            return
        self._when, self._call = when, call
        if self._handle is None or when < self._rings_at:
            self._arm()

    def unset(self, call: Callable[[], None]) -> None:
        """Have it called no more; does nothing if another was set meanwhile."""
        if self._call == call:
            self._call = None

    def close(self) -> None:
        """Ring no more, whatever is set."""
        self._closed, self._call = True, None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._rings_at = self._when
        self._handle = self._loop.call_at(self._when, self._ring)

    def _ring(self) -> None:
        self._handle = None
        call = self._call
        if call is None:
            return
        if self._when > self._rings_at:
            self._arm()
            return
        self._call = None
        call()
