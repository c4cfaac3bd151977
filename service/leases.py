"""Who still uses a model that the catalog has let go of, and what happens when nobody does any more."""

import asyncio
import contextlib
import gc
import weakref
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from service.engine.batcher import Batcher
from service.memory import give_back
from service.model import Model

Batchers = tuple[Batcher, ...]

_PATIENCE_S = 10.0  # after which whoever seems to hold a retired model may be a request long gone


class Leases:
    """Closes a model's batchers when nobody holds the model any more.

    A request holds its model from `Catalog.get` to its answer, also while no graph of it runs. So references are the
    count of users that cannot be wrong: a model that was taken off the shelf goes with the last request.

    Args:
        aside: Runs what takes a while on a thread.
    """

    def __init__(self, aside: Callable[[Callable[[], None]], Coroutine[Any, Any, None]]) -> None:
        self._aside = aside
        self._loop = asyncio.get_running_loop()
        self._open: set[Batchers] = set()
        self._retired: list[_Retired] = []
        self._closing: set[asyncio.Task[None]] = set()

    def hold(self, model: Model) -> None:
        """A model begins to serve."""
        batchers = tuple(model.batchers.values())
        self._open.add(batchers)
        weakref.finalize(model, self._let_go, batchers).atexit = False

    def retire(self, model: Model) -> None:
        """The catalog lets go of a model."""
        self._retired.append(_Retired(weakref.ref(model), self._loop.time() + _PATIENCE_S, _PATIENCE_S))

    def collect(self) -> None:
        """Free retired models that only cycles of references hold: a request that failed leaves some in its traceback.

        Collecting stops everything for some 50 ms, so it is only done for a model that has been waited for.
        """
        self._retired = [retired for retired in self._retired if retired.model() is not None]
        now = self._loop.time()
        overdue = [retired for retired in self._retired if retired.due <= now]
        for retired in overdue:
            retired.wait_s *= 2  # it may be a long request after all
            retired.due = now + retired.wait_s
        if overdue:
            gc.collect()

    async def drained(self, timeout_s: float) -> None:
        """Wait until every caller of every batcher has an answer, or was refused one."""
        await asyncio.gather(*(batcher.drained(timeout_s) for batcher in self._batchers()))

    async def close(self) -> None:
        """Close all batchers, whoever holds their models."""
        await asyncio.gather(*self._closing)
        for batcher in self._batchers():
            batcher.retire()
            batcher.close()
        self._open.clear()

    def _batchers(self) -> Iterable[Batcher]:
        return [batcher for batchers in self._open for batcher in batchers]

    def _let_go(self, batchers: Batchers) -> None:
        """From any thread: a collection of garbage may begin on each."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: so is everything
            self._loop.call_soon_threadsafe(self._close, batchers)

    def _close(self, batchers: Batchers) -> None:
        if batchers in self._open:
            self._open.remove(batchers)
            for batcher in batchers:
                batcher.retire()
            task = self._loop.create_task(self._aside(lambda: _close_all(batchers)))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class _Retired:
    __slots__ = ("due", "model", "wait_s")

    def __init__(self, model: weakref.ref[Model], due: float, wait_s: float) -> None:
        self.model = model
        self.due = due
        self.wait_s = wait_s


def _close_all(batchers: Batchers) -> None:
    for batcher in batchers:
        batcher.close()
    give_back()
