"""Finds runs that hang, with one timer of the event loop that is set only while there is something to watch."""

import asyncio
import time
from collections.abc import Callable, Collection

from service.engine.batch import Batch
from service.engine.cost import CostModel
from service.engine.jobs import Job
from service.engine.keeper import Keeper

_PATIENCE = 20.0  # times the expected seconds, where that is more than the limit
_TICK_S = 0.001


class Watchdog:
    """Calls back for each batch whose run takes too long. Lives on the event loop.

    Args:
        loop: The event loop.
        keeper: Knows the batches under way.
        pending: The jobs that have no answer yet: they will run, unless they do already.
        cost: What a run should take.
        hang_s: Seconds after which a run hangs, if it was not expected to take a good part of that.
        hung: Takes a batch that hangs; it must be `abandoned` afterwards.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        keeper: Keeper,
        pending: Collection[Job],
        cost: CostModel,
        hang_s: float,
        hung: Callable[[Batch, float], None],
    ) -> None:
        self._loop = loop
        self._keeper = keeper
        self._pending = pending
        self._cost = cost
        self._hang_s = hang_s
        self._hung = hung
        self._timer: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Something may run from now on."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._hang_s, self._look)

    def _look(self) -> None:
        self._timer = None
        now = time.monotonic()
        soonest = self._hang_s if self._pending else None
        for batch in self._keeper.under_way.copy():
            running = batch.running_since
            if batch.abandoned:
                continue
            since, rows = running or (now, 0)
            left = since + max(self._hang_s, _PATIENCE * self._cost.seconds(rows)) - now
            if left <= 0:
                self._hung(batch, now - since)
            else:
                soonest = left if soonest is None else min(soonest, left)
        if soonest is not None:
            self._timer = self._loop.call_later(max(_TICK_S, soonest), self._look)
