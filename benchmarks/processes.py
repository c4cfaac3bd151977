"""A server in processes of its own: started, watched and stopped, with whatever daemons it starts (Linux)."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from benchmarks.errors import BenchmarkError

_SET_CHILD_SUBREAPER = 36  # prctl(2)
_STOP_S = 20.0
_IDLE_SHARE = 0.5  # of a core: some peers poll while they idle
_SETTLE_STEP_S = 0.25
_SETTLE_S = 15.0


def adopt_orphans() -> None:
    """Become the parent of daemons that servers leave, so that their CPU time is seen and they are stopped.

    Raises:
        BenchmarkError: If this is not Linux.
    """
    if sys.platform != "linux" or ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise BenchmarkError("only Linux can hand orphaned processes to us; run the benchmarks there")


class ServerProcess:
    """A command and all processes that come of it. One at a time: whatever descends from us belongs to it."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = log
        self._before = _descendants()
        with log.open("wb") as output:
            self._root = subprocess.Popen(
                command, env=dict(environment), cwd=folder, stdout=output, stderr=subprocess.STDOUT
            )

    @property
    def ended(self) -> bool:
        """Whether the command itself is over."""
        return self._root.poll() is not None

    def last_words(self) -> str:
        """The last line that it has printed."""
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it printed nothing"

    def processes(self) -> list[psutil.Process]:
        """Those that live now."""
        return list(_descendants() - self._before)

    def cpu_seconds(self) -> float:
        """CPU time until now, of those that live and of their children that have ended."""
        total = 0.0
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(process.cpu_times()[:4])  # user, system, and the same of children that were waited for
        return total

    def settle(self) -> None:
        """Wait until work that nobody waits for any more is done, or for 15 s."""
        end = time.monotonic() + _SETTLE_S
        before = self.cpu_seconds()
        while time.monotonic() < end:
            time.sleep(_SETTLE_STEP_S)
            now = self.cpu_seconds()
            if now - before < _IDLE_SHARE * _SETTLE_STEP_S:
                return
            before = now

    def stop(self) -> list[str]:
        """SIGTERM to the command, then an end to whatever is left.

        Returns:
            Names of processes that it had left behind.
        """
        with contextlib.suppress(ProcessLookupError):
            self._root.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._root.wait(_STOP_S)
        left = self.processes()
        names = [_name(process) for process in left]
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.terminate()
        _, stubborn = psutil.wait_procs(left, timeout=5)
        for process in stubborn:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(stubborn, timeout=5)
        self._root.wait(_STOP_S)
        return names


def _descendants() -> set[psutil.Process]:
    return set(psutil.Process(os.getpid()).children(recursive=True))


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return process.name()
    return "ended meanwhile"
