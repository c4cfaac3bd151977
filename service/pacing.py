"""Pacing: who was refused and asks again at once is refused again, but not at once.

Many clients send the next request as soon as they have an answer, whatever it says: so do most load generators, and
loops around a call. A thousand such connections would be refused 30,000 times a second, and since the event loop goes
before the model on every core, the model would stand still: refusing would be all that is done. So an event loop has
a budget of refusals. Beyond it they are held back, in the order in which they came, where the same connection was
refused just before: the first refusal of a connection, and that of a client that waits as `Retry-After` says, never is.
See docs/decisions/0012-who-asks-again-at-once.md.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable

_FOR_EACH = 5.0  # refusals, for each request served: at three times what it can do a service refuses two to three
_A_SECOND = 500.0  # refusals that may go out beside them
_MOST = 512.0  # saved up
_AT_ONCE_S = 0.9  # since the last refusal, with what the request waited to be read; `Retry-After` is 1 s at least
_LONGEST_S = 0.25  # that a refusal is held back, and up to a tick and a rest more; beyond the budget, if need be
_TICK_S = 0.01


class Pace:
    """The budget of an event loop, and the refusals that wait for it.

    Args:
        note: Called for each refusal that is held back.
    """

    def __init__(self, note: Callable[[], None]) -> None:
        self._note = note
        self._credit = _MOST
        self._counted_at = time.monotonic()
        self._waiting: deque[tuple[float, Callable[[], None]]] = deque()  # until when at most, and what sends it
        self._timer: asyncio.TimerHandle | None = None
        self._ended = False

    def served(self) -> None:
        """Images were answered."""
        if self._credit < _MOST:
            self._credit += _FOR_EACH

    def lets_out(self, refused_at: float) -> bool:
        """Whether a refusal may go out now, which is then counted; else it is to be held back.

        Args:
            refused_at: When something was refused on its connection before (monotonic seconds).
        """
        now = time.monotonic()
        credit = self._credit_at(now)
        at_once = now - refused_at < _AT_ONCE_S
        if at_once and not self._ended and (self._waiting or credit < 1.0):
            return False
        self._credit = max(-_MOST, credit - 1.0)
        return True

    def hold(self, send: Callable[[], None]) -> None:
        """Have a refusal sent when its turn comes."""
        self._note()
        self._waiting.append((time.monotonic() + _LONGEST_S, send))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    async def turn(self, refused_at: float) -> None:
        """Wait until a refusal may go out; for the usual way.

        Args:
            refused_at: As of `lets_out`.
        """
        if not self.lets_out(refused_at):
            come = asyncio.Event()
            self.hold(come.set)
            await come.wait()

    def end(self) -> None:
        """Send all that is held back, and hold nothing back any more: the service is about to end."""
        self._ended = True
        while self._waiting:
            self._waiting.popleft()[1]()

    def _tick(self) -> None:
        self._timer = None
        now = time.monotonic()
        self._credit_at(now)
        while self._waiting and (self._credit >= 1.0 or self._waiting[0][0] <= now):
            self._credit = max(-_MOST, self._credit - 1.0)
            self._waiting.popleft()[1]()
        if self._waiting:
            self._timer = asyncio.get_running_loop().call_later(_TICK_S, self._tick)

    def _credit_at(self, now: float) -> float:
        self._credit = min(_MOST, self._credit + _A_SECOND * (now - self._counted_at))
        self._counted_at = now
        return self._credit
