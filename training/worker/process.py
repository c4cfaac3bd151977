"""The child process, as the worker sees it: orders go in, reports come out, and it can be ended."""

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

from training.worker.protocol import Order, Report, Word, read_report

LOG = "worker.log"
_TAIL_BYTES = 2000


class Child:
    """A run in a process of its own. It is in a session of its own too, so that Ctrl-C ends it through us alone."""

    def __init__(self, order: Order) -> None:
        self._log = order.folder / LOG
        order.folder.mkdir(parents=True, exist_ok=True)
        self.reports: queue.Queue[Report | None] = queue.Queue()
        threads = str(order.recipe.get("train", {}).get("threads", 1))
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "training.worker.child"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
                env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            )
        assert self._process.stdin is not None
        self._stdin = self._process.stdin.fileno()
        threading.Thread(target=self._read, name="child", daemon=True).start()
        with contextlib.suppress(BrokenPipeError):  # dead already, which the end of its reports says
            self._write(order.line())
        os.set_blocking(self._stdin, False)
        self._said = time.monotonic()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def say(self, word: Word) -> None:
        """Tell it something. One that does not listen any more needs no word; the end of its reports says so."""
        self._said = time.monotonic()
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            self._write(word.line())

    def alive(self, every_s: float) -> None:
        """Tell it that we live, if that was not said for some time."""
        if time.monotonic() - self._said >= every_s:
            self.say(Word(say="alive"))

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def status(self) -> int:
        """Wait for its end: its exit code, or minus the signal that ended it."""
        status = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        return status

    def last_words(self) -> str:
        """The last line of its log."""
        return last_line(self._log)

    def _write(self, raw: bytes) -> None:
        while raw:
            raw = raw[os.write(self._stdin, raw) :]

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(ValueError, OSError):  # a line cut by its death
            for line in self._process.stdout:
                self.reports.put(read_report(line))
        self.reports.put(None)


def last_line(path: Path) -> str:
    """The last line of a text file that is not empty; "" if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").strip().splitlines()
    except OSError:
        return ""
    return lines[-1] if lines else ""


def exists(pid: int) -> bool:
    """Whether there is a process of this number here."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's
    return True
