"""Rests: under overload an event loop does nothing for some milliseconds, and then takes in together what has come.

Between two runs of a graph the caches have forgotten the service's own code: the first request that is looked at after
one takes four times as long as those behind it. Where lanes run on its cores, as they do on a CPU, an event loop that
refuses is therefore not woken by each arrival: see docs/decisions/0017-rests.md.
"""

import asyncio
import math
import time
from collections.abc import Callable

LONGEST_S = 0.012  # from the end of one to the end of the next; also what a refusal may have to wait for
_OF_THE_BACKLOG = 0.1  # of what the lanes have to do: they must not run dry meanwhile
_QUIET = 2  # turns of the event loop: a new connection is taken in by one, and read from in the next


class Rests:
    """Of one event loop, on which it lives.

    Args:
        over: Called at the end of each.

    Attributes:
        came: How often something has come on any connection. Whoever takes it in counts.
    """

    def __init__(self, over: Callable[[], None]) -> None:
        self.came = 0
        self._over = over
        self._seen = 0
        self._quiet = 0
        self._wanted = False
        self._longest_s = LONGEST_S
        self._ended_at = -math.inf
        self._no_more = False

    def want(self, backlog_s: float) -> None:
        """Somebody was refused: rest as soon as all is taken in that has come.

        Args:
            backlog_s: Seconds for which the lanes have enough to do.
        """
        self._longest_s = min(self._longest_s, _OF_THE_BACKLOG * backlog_s)
        if not self._wanted:
            self._wanted = True
            asyncio.get_running_loop().call_soon(self._look)

    def end(self) -> None:
        """Have no more of them: the service is about to end."""
        self._no_more = True

    def _look(self) -> None:
        self._quiet = self._quiet + 1 if self.came == self._seen else 0
        self._seen = self.came
        if self._quiet < _QUIET:
            asyncio.get_running_loop().call_soon(self._look)
            return
        self._wanted = False
        self._rest()

    def _rest(self) -> None:
        longest_s, self._longest_s = self._longest_s, LONGEST_S
        left_s = self._ended_at + longest_s - time.perf_counter()
        if left_s > 0.0 and not self._no_more:
            time.sleep(left_s)
        self._ended_at = time.perf_counter()
        self._over()
