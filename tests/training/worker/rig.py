"""Real workers in processes of their own, on a real database, with runs that take seconds."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from bundle.recipes import Recipe, check_table, resolved
from bundle.store import Bundle, Store
from jobs.database import open_database
from jobs.ledger import Ledger
from jobs.model import FINAL, Job, NewJob, State
from tests.training.samples import ROOT, digits

WAIT_S = 240.0
LAPSE_S = 4.0


class WorkerProcess:
    """`python -m training worker`."""

    def __init__(self, rig: "Rig", name: str, options: dict[str, Any], limits: dict[int, int]) -> None:
        self.name = name
        self.log = rig.folder / f"{name}.log"
        words = {
            "database": rig.url,
            "name": name,
            "beat": 0.5,
            "lapse": LAPSE_S,
            "poll": 0.2,
            "checkpoint": 0.2,
            **options,
        }
        arguments = [word for key, value in words.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        places = ["--runs", str(rig.runs), "--store", str(rig.store.root)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "training", *places, "worker", *arguments],
                cwd=rig.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "GENSERVE_DATA": str(rig.folder)},
                preexec_fn=lambda: [resource.setrlimit(key, (value, value)) for key, value in limits.items()],
            )

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the worker alone."""
        self.process.send_signal(number)

    def children(self) -> list[psutil.Process]:
        """The processes of its runs, one at most; nothing that a library starts for a moment."""
        return [process for process in psutil.Process(self.process.pid).children() if _is_run(process)]

    def child(self) -> psutil.Process:
        """The process of its run, once there is one."""
        return until(lambda: next(iter(self.children()), None), "no child")

    def end(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.terminate()
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        """End it and its child, whatever state they are in."""
        if self.process.poll() is not None:
            return
        children = psutil.Process(self.process.pid).children()
        for process in (self.process, *children):
            process.send_signal(signal.SIGCONT)
            process.kill()
        self.process.wait()


def _is_run(process: psutil.Process) -> bool:
    try:
        return "training.worker.child" in process.cmdline()
    except psutil.Error:  # it has just ended
        return False


class Rig:
    """A database, folders of runs and bundles, and the workers on them."""

    def __init__(self, folder: Path, url: str | None = None) -> None:
        self.folder = folder
        self.url = url or f"sqlite:///{folder}/jobs.sqlite"
        self.runs = folder / "runs"
        self.store = Store(folder / "store")
        self.ledger = Ledger(open_database(self.url), patience_s=10.0, lapse_s=LAPSE_S)
        self.workers: list[WorkerProcess] = []
        self.data = folder / "digits.npz"
        np.savez(self.data, x_train=digits().train.images, x_test=digits().test.images)

    def worker(self, name: str = "worker", limits: dict[int, int] | None = None, **options: Any) -> WorkerProcess:
        """Start a worker."""
        started = WorkerProcess(self, name, options, limits or {})
        self.workers.append(started)
        return started

    def submit(self, name: str = "tiny", order: dict[str, Any] | None = None, **train: Any) -> Job:
        """Order a run of a second or two, unless `train` says otherwise."""
        return self.ledger.submit(NewJob(recipe=recipe(self.data, name, **train), **(order or {})))[0]

    def wait(self, job: Job, states: Collection[State] = FINAL) -> Job:
        """The job once it is in one of the states."""
        return until(lambda: self._in(job, states), lambda: f"{self.ledger.get(job.id)}\n{self.logs(job)}")

    def wait_step(self, job: Job, step: int) -> Job:
        """The job once it has got so far."""

        def reached() -> Job | None:
            found = self.ledger.get(job.id)
            return found if found.progress and found.progress.step >= step else None

        return until(reached, lambda: f"{self.ledger.get(job.id)}\n{self.logs(job)}")

    def bundle(self, job: Job) -> Bundle:
        """The only bundle of its name, which is the job's."""
        found = [self.store.open(f"{job.name}@{version}") for version in self.store.versions(job.name)]
        assert [one.manifest.training.run for one in found] == [job.id], self.logs(job)
        found[0].verify()
        return found[0]

    def weights(self, job: Job) -> str:
        """Digest of the weights that the job has published."""
        return self.bundle(job).manifest.weights.sha256

    def states(self, job: Job) -> list[str]:
        """All states that the job has been in."""
        return [event.data["state"] for event in self.ledger.events(job.id) if event.kind == "state"]

    def said(self, job: Job) -> str:
        """What its log says."""
        return "\n".join(str(event.data["message"]) for event in self.ledger.events(job.id) if event.kind == "log")

    def logs(self, job: Job) -> str:
        """All logs, for a test that fails."""
        paths = [worker.log for worker in self.workers] + [self.runs / "jobs" / job.id / "worker.log"]
        return "\n".join(f"--- {path.name}\n{path.read_text()[-6000:]}" for path in paths if path.exists())

    def close(self) -> None:
        """End all workers."""
        for worker in self.workers:
            worker.close()
        self.ledger.database.close()

    def _in(self, job: Job, states: Collection[State]) -> Job | None:
        found = self.ledger.get(job.id)
        return found if found.state in states else None


def recipe(data: Path, name: str, **changes: Any) -> dict[str, Any]:
    """A resolved recipe of a small VAE; what is no key of `[train]` is one of `[model]`."""
    train = {"batch_size": 16, "rounds": 1200, "ema": 0.9, "picture_epochs": 50.0}
    model = {"network": "mlp", "hidden": [16], "latent_dim": 2}
    for key, value in changes.items():
        (train if key in train else model)[key] = value
    table = {"name": name, "family": "vae", "seed": 3, "data": {"name": "npz", "path": str(data)}}
    return resolved(check_table(Recipe, {**table, "model": model, "train": train}, "test recipe"))


def until(what: Callable[[], Any], otherwise: str | Callable[[], str], seconds: float = WAIT_S) -> Any:
    """Wait until something is there."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline, otherwise if isinstance(otherwise, str) else otherwise()
        time.sleep(0.05)
    return found
