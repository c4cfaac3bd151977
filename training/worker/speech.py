"""The child's mouth: reports go out from a thread of their own: a worker that does not listen holds up no run."""

import os
import threading
from collections import deque

from training.worker.protocol import Advance, Report

_LONGEST = 1000  # reports that wait; beyond it the oldest are dropped


class Speech:
    """Writes reports to a file descriptor, in order."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._waiting: deque[Report] = deque(maxlen=_LONGEST)
        self._changed = threading.Condition()
        self._writing = False
        self._broken = False
        threading.Thread(target=self._write, name="speech", daemon=True).start()

    def tell(self, report: Report) -> None:
        """Hand over a report; progress that nobody has heard yet gives way to newer."""
        with self._changed:
            last = self._waiting[-1] if self._waiting else None
            if isinstance(report, Advance) and isinstance(last, Advance) and not last.epochs:
                self._waiting.pop()
            self._waiting.append(report)
            self._changed.notify_all()

    def flush(self, seconds: float) -> None:
        """Wait until all is written, the reader is gone, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._broken or not (self._waiting or self._writing), seconds)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                raw = self._waiting.popleft().line()
                self._writing = True
            try:
                while raw:
                    raw = raw[os.write(self._descriptor, raw) :]
            except OSError:  # nobody reads any more; the leash knows what to do about it
                with self._changed:
                    self._broken = True
                    self._changed.notify_all()
                return
            with self._changed:
                self._writing = False
                self._changed.notify_all()
