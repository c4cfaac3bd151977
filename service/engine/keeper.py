"""Which runtime the next batch runs on, and when one that is no longer wanted may be closed."""

import logging
import threading
from collections.abc import Callable

from service.engine.batch import Batch
from service.engine.runtimes.base import Runtime

_log = logging.getLogger(__name__)


class Keeper:
    """One graph's runtime. It can be replaced while batches still run on the one before.

    A runtime is closed when the last batch on it is back; one in which a thread hangs for ever is never closed.

    Args:
        runtime: The first one.
        lock: The lanes' lock.
        reopen: Makes a new one and checks it; None if that cannot be done, so that the old one is used on.
    """

    def __init__(self, runtime: Runtime, lock: threading.Lock, reopen: Callable[[], Runtime] | None) -> None:
        self.under_way: set[Batch] = set()
        self.current = runtime
        self.renewing = False
        self.broken: str | None = None  # why there is no runtime any more
        self._lock = lock
        self._reopen = reopen
        self.closed = False
        self._retired: list[Runtime] = []

    @property
    def usable(self) -> bool:
        """Whether batches can run now."""
        return not (self.renewing or self.closed or self.broken is not None)

    def lend(self, batch: Batch) -> None:
        """Say, under the lock, that a batch is about to run."""
        self.under_way.add(batch)

    def give_back(self, batch: Batch) -> None:
        """Say that a batch is over. From any thread, without the lock."""
        with self._lock:
            self.under_way.discard(batch)
        if self._retired:
            self._close_unused()

    def renew(self, done: Callable[[], None]) -> None:
        """Open a new runtime aside, on a thread of its own: opening may hang too.

        Args:
            done: Called from that thread afterwards; `broken` then says whether it failed.
        """
        if self._reopen is None or self.renewing or self.closed:
            return
        self.renewing = True
        threading.Thread(target=self._renew, args=(self._reopen, done), name="reopen", daemon=True).start()

    def close(self) -> None:
        """Use no runtime any more."""
        with self._lock:
            if self.closed:
                return
            self.closed = True
            self._retired.append(self.current)
        self._close_unused()

    def _renew(self, reopen: Callable[[], Runtime], done: Callable[[], None]) -> None:
        try:
            runtime = reopen()
        except Exception as error:
            _log.exception("a runtime that hung could not be opened again")
            self.broken = f"{type(error).__name__}: {error}"
        else:
            with self._lock:
                self._retired.append(runtime if self.closed else self.current)
                if not self.closed:
                    self.current = runtime
            self._close_unused()
        self.renewing = False
        done()

    def _close_unused(self) -> None:
        with self._lock:
            used = {id(batch.runtime) for batch in self.under_way}
            unused = [runtime for runtime in self._retired if id(runtime) not in used]
            self._retired = [runtime for runtime in self._retired if id(runtime) in used]
        for runtime in unused:
            runtime.close()
