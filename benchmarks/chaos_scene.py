"""The service, its workers and its database, and what is done to them."""

import contextlib
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks import chaos_plan as plan
from benchmarks.chaos_database import Installation, free_port, installed
from benchmarks.chaos_folders import Folders
from benchmarks.chaos_plan import Blow
from benchmarks.chaos_processes import Kept, reap, send

_ROOT = Path(__file__).parents[1]
_LAPSE_S = 6.0
_SAMPLE_S = 0.5
_SIGNALS = {"kill -9": signal.SIGKILL, "SIGSTOP": signal.SIGSTOP, "SIGTERM": signal.SIGTERM}


class Scene:
    """All processes of a deployment: a database, a service of two processes, two workers.

    Args:
        folder: For logs, runs, bundles, uploads.
        installation: Of the database.

    Attributes:
        struck: How often each kind of blow has met somebody.
        folders: Samples of the run folders.
    """

    def __init__(self, folder: Path, installation: Installation) -> None:
        self.store = folder / "store"
        self.store.mkdir()
        self.port = free_port()
        self.struck: Counter[str] = Counter()
        self.folders = Folders()
        self.logs = logs = folder / "logs"
        logs.mkdir()
        database = {"PATH": os.environ.get("PATH", ""), "TZ": "UTC"}
        self.database = Kept("postgresql", installation.command, database, installation.folder, logs, installation.user)
        environment = _environment(folder, installation, self.port)
        self.service = Kept("service", [sys.executable, "-m", "service"], environment, folder, logs)
        self.workers = [
            Kept(name, _worker(folder, name), environment, folder, logs) for name in ("worker-1", "worker-2")
        ]
        self._stopped: list[tuple[float, psutil.Process]] = []
        self._sampled_at = 0.0

    @property
    def kept(self) -> list[Kept]:
        """All that is kept going."""
        return [self.database, self.service, *self.workers]

    def start(self) -> None:
        """Start everything; nobody waits for anybody."""
        for one in self.kept:
            one.start()

    def tend(self) -> None:
        """What has to be done again and again: wake who has slept long enough, start who has ended, look around."""
        now = time.monotonic()
        for due, process in self._stopped:
            if due <= now:
                send(process, signal.SIGCONT)
        self._stopped = [(due, process) for due, process in self._stopped if due > now]
        for one in self.kept:
            one.tend()
        if now - self._sampled_at >= _SAMPLE_S:
            self._sampled_at = now
            reap(self.kept)
            self.folders.sample()

    def strike(self, blow: Blow) -> str:
        """Do it; returns in words to whom."""
        worker = self.workers[blow.victim % len(self.workers)]
        number = _SIGNALS.get(blow.kind.partition(": ")[2], signal.SIGQUIT)
        whole = {
            plan.DATABASE_CRASHED: self.database,
            plan.SERVICE_KILLED: self.service,
            plan.SERVICE_ASKED: self.service,
            plan.WORKER_KILLED: worker,
            plan.WORKER_ASKED: worker,
        }
        met: str | None = None
        if blow.kind in whole:
            met = whole[blow.kind].name if whole[blow.kind].send(number, blow.lasts) else None
        elif (process := self._part(blow, worker)) is not None and send(process, number):
            met = f"process {process.pid}"
            if number == signal.SIGSTOP:
                self._stopped.append((time.monotonic() + blow.lasts, process))
        self.struck[blow.kind] += met is not None
        return met or "nobody was there"

    def calm(self) -> None:
        """Wake all who were stopped."""
        for _, process in self._stopped:
            send(process, signal.SIGCONT)
        self._stopped = []

    def end(self) -> None:
        """End everything, the database last."""
        self.calm()
        for one in (*self.workers, self.service):
            one.end()
        self.database.end(signal.SIGINT)

    def _part(self, blow: Blow, worker: Kept) -> psutil.Process | None:
        if blow.kind == plan.WORKER_STOPPED:
            with contextlib.suppress(psutil.NoSuchProcess):
                return None if worker.pid is None else psutil.Process(worker.pid)
            return None
        if blow.kind in (plan.PROCESS_KILLED, plan.PROCESS_STOPPED):
            found = self.service.children()
        else:
            found = worker.children() or [one for other in self.workers for one in other.children()]
        return found[blow.victim % len(found)] if found else None


@contextlib.contextmanager
def scene(folder: Path) -> Iterator[tuple[Scene, Installation]]:
    """Everything, started; ended afterwards, whatever happens."""
    with installed(free_port(), folder / "password") as installation:
        made = Scene(folder, installation)
        try:
            made.start()
            yield made, installation
        finally:
            made.end()


def _environment(folder: Path, installation: Installation, port: int) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("GENSERVE_")}
    return plain | {
        "PYTHONPATH": str(_ROOT),
        "OMP_NUM_THREADS": "1",
        "GENSERVE_DATABASE": installation.url,
        "GENSERVE_DATABASE_PASSWORD_FILE": str(installation.password_file),
        "GENSERVE_STORE": str(folder / "store"),
        "GENSERVE_UPLOADS": str(folder / "uploads"),
        "GENSERVE_RECIPES": str(_ROOT / "configs"),
        "GENSERVE_PORT": str(port),
        "GENSERVE_WORKERS": "2",
        "GENSERVE_DRAIN_S": "5",
        "GENSERVE_LOG_LEVEL": "warning",
    }


def _worker(folder: Path, name: str) -> list[str]:
    times = {"--beat": 1.0, "--lapse": _LAPSE_S, "--poll": 0.5, "--checkpoint": 2.0}
    options = [word for key, value in times.items() for word in (key, f"{value:g}")]
    places = ["--runs", str(folder / "runs"), "--store", str(folder / "store")]
    return [sys.executable, "-m", "training", *places, "worker", "--name", name, *options]
