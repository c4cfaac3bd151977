"""Processes that are killed and started again. Signals go to what was started here and to its children, nobody else."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_END_S = 90.0
_ASKED = {0, -signal.SIGTERM, 128 + signal.SIGTERM}  # exit codes after one SIGTERM or several, at whatever moment


class Kept:
    """A command that is started again whenever it has ended.

    Args:
        name: For people, and of its log.
        command: Runs in the foreground.
        environment: All of it.
        folder: Where it runs; its log lies in `logs`.
        user: That it runs as, if not as us.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        folder: Path,
        logs: Path,
        user: str | None = None,
    ) -> None:
        self.name = name
        self.starts = 0
        self.faults: list[str] = []  # ends that nobody has asked for
        self._command, self._environment, self._folder, self._user = command, environment, folder, user
        self._log = logs / f"{name}.log"
        self._popen: subprocess.Popen[bytes] | None = None
        self._process: psutil.Process | None = None
        self._sent: set[int] = set()
        self._due: float | None = None
        self._pause_s = 1.0

    @property
    def pid(self) -> int | None:
        """Of the command, if it runs."""
        return None if self._popen is None else self._popen.pid

    def start(self) -> None:
        """Start it."""
        with self._log.open("ab") as log:
            self._popen = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=self._user,
                process_group=0,  # Ctrl-C is for us; we end it in order
            )
        self._process = psutil.Process(self._popen.pid)
        self._sent, self._due = set(), None
        self.starts += 1

    def send(self, number: signal.Signals, pause_s: float = 1.0) -> bool:
        """Send it a signal.

        Args:
            number: Which.
            pause_s: Seconds from its end, if it ends of it, to its next start.

        Returns:
            Whether it was there.
        """
        if self._process is None:
            return False
        self._sent.add(number)
        self._pause_s = pause_s
        return send(self._process, number)

    def children(self) -> list[psutil.Process]:
        """Processes that it has started, the oldest first."""
        with contextlib.suppress(psutil.NoSuchProcess):
            if self._process is not None:
                return sorted(self._process.children(), key=lambda child: child.pid)
        return []

    def tend(self) -> None:
        """Notice its end, and start it again when its time has come."""
        if self._popen is not None and (code := self._popen.poll()) is not None:
            self._judge(code)
            self._popen = self._process = None
            self._due = time.monotonic() + self._pause_s
        if self._due is not None and time.monotonic() >= self._due:
            self.start()

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it for good: by a signal, and if that does not help by SIGKILL, which is a fault."""
        self._due = None
        if self._popen is None:
            return
        self.send(signal.SIGCONT)
        self.send(number)
        try:
            self._judge(self._popen.wait(_END_S))
        except subprocess.TimeoutExpired:
            self.faults.append(f"{self.name} did not end in {_END_S:g} s after {number.name}")
            self.send(signal.SIGKILL)
            self._popen.wait()
        self._popen = self._process = None

    def _judge(self, code: int) -> None:
        deadly = self._sent & {signal.SIGKILL, signal.SIGQUIT}
        asked = self._sent & {signal.SIGTERM, signal.SIGINT}
        if not deadly and not (asked and code in _ASKED):
            self.faults.append(f"{self.name} ended with {code}{' after SIGTERM' if asked else ' by itself'}")


def send(process: psutil.Process, number: signal.Signals) -> bool:
    """Send a signal to this very process, never to one that has got its number since; returns whether it was there."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return False
    return True


def reap(kept: Sequence[Kept]) -> None:
    """Let go of orphans that have come to us and have ended."""
    known = {one.pid for one in kept}
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
            if process.pid not in known and process.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(process.pid, os.WNOHANG)


def left_over() -> list[str]:
    """Processes that descend from us and still live, in words."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(f"process {process.pid}: {' '.join(process.cmdline())[:100]}")
    return found
