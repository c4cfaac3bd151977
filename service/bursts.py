"""Bursts: under overload, requests that are let in begin together.

Between two runs of a graph the caches have forgotten the service's own code, and a request that begins alone pays for
that. While others wait before it nothing is lost if it begins a little later, after several have come: see
docs/decisions/0014-who-is-let-in-begins-together.md.
"""

import asyncio
from collections.abc import Callable
from typing import NamedTuple

from service.engine.places import Place


class LetIn(NamedTuple):
    """A request that others are not in the way of.

    Attributes:
        place: In the queue that it asks for.
        may_wait_s: Seconds before it begins.
    """

    place: Place
    may_wait_s: float


class Burst:
    """What is to be called soon, all at once and in order. Lives on the event loop."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], None]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._until = float("inf")
        self._ended = False

    def add(self, call: Callable[[], None], within_s: float) -> None:
        """Have a function called, with all that wait.

        Args:
            call: The function; raises nothing.
            within_s: In so many seconds at most; 0 is now.
        """
        self._calls.append(call)
        if within_s <= 0.0 or self._ended:
            self.begin()
            return
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        if until < self._until:
            if self._timer is not None:
                self._timer.cancel()
            self._until = until
            self._timer = loop.call_at(until, self.begin)

    def begin(self) -> None:
        """Call all that wait."""
        if self._timer is not None:
            self._timer.cancel()
        calls, self._calls, self._timer, self._until = self._calls, [], None, float("inf")
        for call in calls:
            call()

    def end(self) -> None:
        """Call all that wait, and have nothing wait any more: the service is about to end."""
        self._ended = True
        self.begin()
