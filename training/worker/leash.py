"""The child's ear: it stops when it is told to, when its worker is gone, and when that says nothing for too long."""

import os
import select
import threading
import time
from collections.abc import Callable

from training.worker.protocol import STOPPED, Word

_LOOK_S = 0.2


class Leash:
    """Listens on a file descriptor in a thread of its own.

    A worker that was killed closes its end of the pipe; one that was stopped (SIGSTOP, a paused container) goes silent,
    and may have been replaced when it wakes up. In both cases the run has to leave its folder to whoever comes next.
    """

    def __init__(self, descriptor: int, silence_s: float, leave: Callable[[int], None] = os._exit) -> None:
        """`leave` ends the process at once, for the parts of a run that have nothing to save."""
        self.reason: str | None = None
        self._descriptor = descriptor
        self._silence_s = silence_s
        self._leave = leave
        self._graceful = False
        self._permitted = threading.Event()
        self._rest = b""
        self._lock = threading.Lock()
        threading.Thread(target=self._listen, name="leash", daemon=True).start()

    def stopped(self) -> bool:
        """Whether the run has to end."""
        return self.reason is not None

    def graceful(self, wanted: bool) -> None:
        """Whether the run ends by itself soon after `stopped`; otherwise the process is ended at once."""
        with self._lock:
            self._graceful = wanted
            if self.reason is not None and not wanted:
                self._leave(STOPPED)

    def wait_for_permission(self) -> None:
        """Wait until the worker lets us publish. From then on nothing stops the run but its end."""
        self._permitted.wait()

    def _listen(self) -> None:
        heard = time.monotonic()
        while not self._permitted.is_set() and self.reason is None:
            readable, _, _ = select.select([self._descriptor], [], [], _LOOK_S)
            if readable:
                raw = os.read(self._descriptor, 1 << 16)
                if not raw:
                    self._stop("its worker is gone")
                    return
                heard = time.monotonic()
                self._take(raw)
            elif time.monotonic() - heard > self._silence_s:
                self._stop(f"its worker said nothing for {self._silence_s:g} s")

    def _take(self, raw: bytes) -> None:
        *lines, self._rest = (self._rest + raw).split(b"\n")
        for line in lines:
            match Word.model_validate_json(line).say:
                case "publish":
                    self._permitted.set()
                case "stop":
                    self._stop("it was told to")
                case "alive":
                    pass

    def _stop(self, reason: str) -> None:
        with self._lock:
            if self._permitted.is_set():
                return
            self.reason = reason
            if not self._graceful:
                self._leave(STOPPED)
