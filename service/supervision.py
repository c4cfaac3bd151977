"""Work that ends when nobody waits for it any more."""

import asyncio
from types import TracebackType
from typing import Self

from starlette.requests import ClientDisconnect, Request

from service.errors import DeadlineError
from service.rests import LONGEST_S
from service.timers import LazyTimer
from service.transport import Cycle, cycle_of

# The engine watches the same deadline, and knows what became of the request. Both may be late because of a rest.
_AFTER_THE_ENGINE_S = LONGEST_S + 0.008


class Supervision:
    """Cancels the task in its block when the client leaves or the deadline passes.

    Args:
        request: If its body is read and not taken by `whole_body`, `body_was_read` has to be called afterwards.
        deadline: By the clock of the event loop; None if there is none.

    Raises:
        ClientDisconnect: From the block, if the client left.
        DeadlineError: From the block, if the deadline passed.
    """

    __slots__ = ("_cancelling", "_cycle", "_deadline", "_reason", "_request", "_task", "_timer", "_watcher")

    def __init__(self, request: Request, deadline: float | None) -> None:
        self._request = request
        self._deadline = deadline
        self._reason: Exception | None = None
        self._timer: LazyTimer | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._cycle: Cycle | None = cycle_of(request.scope)

    def __enter__(self) -> Self:
        cycle = self._cycle
        task = asyncio.current_task() if cycle is None else cycle.task
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        if self._deadline is not None:
            self._timer = LazyTimer(asyncio.get_running_loop()) if cycle is None else cycle.deadline
            self._timer.set(self._deadline + _AFTER_THE_ENGINE_S, self._expire)
        if cycle is not None:
            cycle.when_client_leaves(self._leave)
        return self

    def whole_body(self, limit: int) -> bytes | None:
        """The request's body, if all of it is there and has at most `limit` bytes; else it is to be read."""
        cycle = self._cycle
        return cycle.whole_body(limit) if cycle is not None and self._request.receive == cycle.receive else None

    def body_was_read(self) -> None:
        """Whatever comes now, if anything, is that the client leaves."""
        if self._cycle is None:
            self._watcher = asyncio.create_task(self._watch())
        else:
            self._cycle.when_client_leaves(self._leave)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.unset(self._expire)
            if self._cycle is None:
                self._timer.close()
        if self._watcher is not None:
            self._watcher.cancel()
        if self._cycle is not None:
            self._cycle.left = None
        if self._reason is None:
            return
        ours = self._task.uncancel() <= self._cancelling
        if ours and kind is not None and issubclass(kind, asyncio.CancelledError):
            raise self._reason from error

    async def _watch(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            continue
        self._leave()

    def _leave(self) -> None:
        self._cancel(ClientDisconnect())

    def _expire(self) -> None:
        self._cancel(DeadlineError("the deadline has passed (X-Timeout-Ms, or setting default_timeout_ms)"))

    def _cancel(self, reason: Exception) -> None:
        if self._reason is None:
            self._reason = reason
            self._task.cancel()
