"""The roll of workers: we beat, we see who has stopped beating, and what they have left."""

import logging
import os
import socket
import threading
import time
from pathlib import Path

from jobs.errors import DatabaseError, JobNotFoundError
from jobs.ledger import Ledger
from jobs.model import WorkerInfo
from training.worker.process import exists
from training.worker.settings import WorkerSettings

_log = logging.getLogger(__name__)

_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Roll:
    """Our entry among the workers, kept alive from a thread of its own."""

    def __init__(self, ledger: Ledger, settings: WorkerSettings) -> None:
        self.job: str | None = None
        self._ledger = ledger
        self._settings = settings
        self._host = host()
        self._closed = threading.Event()
        self._steady_since: float | None = None  # since when no beat has failed
        self._thread = threading.Thread(target=self._beat, name="beat", daemon=True)

    def open(self) -> None:
        """Enter ourselves, and beat from now on."""
        self._register()
        self._steady_since = time.monotonic()
        if not self._thread.is_alive():
            self._thread.start()

    def close(self) -> None:
        """Beat no more, and take leave if the database is there."""
        self._closed.set()
        if self._thread.is_alive():
            self._thread.join(self._settings.beat_s)
        try:
            self._ledger.leave(self._settings.instance)
        except (DatabaseError, JobNotFoundError) as error:
            _log.warning("no leave taken, which others will notice in %g s: %s", self._settings.lapse_s, error)

    def present(self) -> set[str]:
        """Instances that are not buried, ours too; the dead are buried first, and what they ran is queued again.

        Who is silent but not buried yet is present: the ledger has not taken its jobs away, so nobody else may.
        """
        for worker in self._ledger.lapsed(self._settings.lapse_s):
            if self._trusts_clock() and worker.instance != self._settings.instance:
                self._bury(worker, f"silent for {self._settings.lapse_s:g} s")
        present = self._ledger.present()
        for worker in self._ledger.workers():
            if worker.instance in present and self._gone_from_here(worker):
                self._bury(worker, f"process {worker.pid} is gone")
        return self._ledger.present() | {self._settings.instance}

    def _trusts_clock(self) -> bool:
        """After an outage of the database everybody seems to have been silent: they get time to beat again."""
        steady = self._steady_since
        return steady is not None and time.monotonic() - steady >= self._settings.lapse_s

    def _bury(self, worker: WorkerInfo, reason: str) -> None:
        if self._ledger.bury(worker.instance):
            _log.warning("worker %s is dead (%s); its work is queued again", worker.instance, reason)

    def _gone_from_here(self, worker: WorkerInfo) -> bool:
        if worker.host != self._host or worker.instance == self._settings.instance:
            return False
        return worker.pid == os.getpid() or not exists(worker.pid)

    def _register(self) -> None:
        s = self._settings
        self._ledger.register(
            WorkerInfo(instance=s.instance, name=s.name, host=self._host, pid=os.getpid(), device=s.device)
        )

    def _beat(self) -> None:
        while not self._closed.wait(self._settings.beat_s):
            try:
                try:
                    self._ledger.beat(self._settings.instance, self.job)
                except JobNotFoundError:
                    self._register()
                if self._steady_since is None:
                    self._steady_since = time.monotonic()
            except DatabaseError as error:
                if self._steady_since is not None:
                    _log.warning("no beat: %s", error)
                self._steady_since = None


def host() -> str:
    """This machine and its numbering of processes.

    Two machines can have one name (`localhost`, cloned images) and number processes in the initial namespace both;
    two containers can have one name, and a process 1 each.
    """
    boot = _BOOT.read_text()[:8] if _BOOT.exists() else "-"
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{boot}/{namespace.stat().st_ino if namespace.exists() else 0:x}"
