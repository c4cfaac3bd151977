"""One execution of a job by this worker: children until one of them has an answer."""

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jobs.model import Failure, Job
from training.worker import failures, memory
from training.worker.link import Link, Wanted
from training.worker.process import Child
from training.worker.protocol import (
    STOPPED,
    Advance,
    Failed,
    Log,
    Order,
    Picture,
    Published,
    Ready,
    Report,
    Stopped,
    Word,
)
from training.worker.settings import WorkerSettings

_log = logging.getLogger(__name__)

_TICK_S = 0.1
_DEATHS = 5  # in a row, without getting further, after which a run has failed
_PAUSE_S = 1.0

Answer = Published | Failure


class Leave(BaseException):
    """The worker ends: the job goes back to the queue. No `Exception`, so that DBOS records nothing."""


class Superseded(BaseException):
    """The job is not ours any more."""


class Cancelled(Exception):  # noqa: N818 (no error)
    """The run was stopped because the job is to be cancelled."""


@dataclass
class _Death:
    """Children that died without a word, in a row."""

    count: int = 0
    reached: int = -1  # step

    def another(self, step: int) -> int:
        self.count = 1 if step > self.reached else self.count + 1
        self.reached = max(self.reached, step)
        return self.count


class Execution:
    """Runs a job that is ours, until it is published, has failed, or somebody wants it stopped."""

    def __init__(self, job: Job, link: Link, settings: WorkerSettings, leaving: threading.Event) -> None:
        self._job = job
        self._link = link
        self._settings = settings
        self._leaving = leaving
        self._last_words = ""
        self._progress = job.progress

    def answer(self) -> Answer:
        """What became of the run.

        Raises:
            Cancelled: If it was to be cancelled.
            Superseded, Leave: If it is to be gone on with by others.
        """
        deaths = _Death()
        while True:
            killed = memory.kills()
            try:
                report, status = self._one_child()
            except OSError as error:  # no process, no log: the disk, the memory, the number of processes
                return failures.explained(error)
            match report:
                case Published():
                    self._complete()
                    return report
                case Failed(failure=failure):
                    return failure
                case Stopped():
                    pass
                case None:
                    starved = status == -signal.SIGKILL and memory.kills() > killed
                    count = deaths.another(self._progress.step if self._progress else 0)
                    if starved or count >= _DEATHS:
                        self._check()
                        return failures.died(status, count, starved, self._last_words)
                    how = f"signal {-status}" if status < 0 else f"exit code {status}"
                    self._say(f"the run's process ended with {how}; going on from the last checkpoint")
            self._check()
            self._leaving.wait(_PAUSE_S)

    def _check(self) -> None:
        """Raise what the end of a child was for, if it was for something; waits for the database to say so."""
        answered = self._link.inquire()
        while (wanted := answered()) is None:
            if self._leaving.wait(_TICK_S):
                raise Leave
        if wanted == "nothing":
            raise Superseded
        if wanted == "cancel":
            raise Cancelled
        if self._leaving.is_set():
            raise Leave

    def _one_child(self) -> tuple[Published | Failed | Stopped | None, int]:
        """Run a child to its end: its last word, None if it died without one, and its status."""
        order = self._order()
        child = Child(order)
        _log.info("job %s: process %d, in %s", self._job.id, child.pid, order.folder)
        try:
            last = _Conversation(child, self._link, self._settings, self._leaving, self._told).to_the_end()
            status = child.status()
            if last is None and status == STOPPED:  # it had nothing to save, and left at once
                last = Stopped(reason="it was told to")
            return last, status
        finally:
            child.kill()
            child.status()
            self._last_words = child.last_words()

    def _told(self, report: Report) -> None:
        match report:
            case Advance(progress=progress, epochs=epochs):
                self._progress = progress
                self._link.progress(progress)
                for epoch in epochs:
                    self._link.epoch({"epoch": epoch, "step": progress.step, "losses": progress.losses})
            case Picture(path=path, step=step, epoch=passes):
                self._link.picture(path.read_bytes, {"step": step, "epoch": passes})
            case Log(message=message):
                self._say(message)
            case _:
                pass

    def _complete(self) -> None:
        """Tell of the last round where nobody else did: an earlier execution may have died right after it."""
        last = self._progress
        if last is not None and 0 < last.step < last.steps:
            epoch = last.epoch * last.steps / last.step
            self._link.progress(last.model_copy(update={"step": last.steps, "epoch": epoch, "eta_s": 0.0}))

    def _say(self, message: str) -> None:
        _log.info("job %s: %s", self._job.id, message)
        self._link.log(message)

    def _order(self) -> Order:
        s = self._settings
        return Order(
            job=self._job.id,
            recipe=self._job.recipe,
            runs=Path(s.runs).absolute(),
            store=Path(s.store).absolute(),
            device=s.device,
            checkpoint_s=s.checkpoint_s,
            silence_s=s.lapse_s,
        )


class _Conversation:
    """Listens to a child and tells it what is wanted, until its end."""

    def __init__(
        self,
        child: Child,
        link: Link,
        settings: WorkerSettings,
        leaving: threading.Event,
        told: Callable[[Report], None],
    ) -> None:
        self._child = child
        self._link = link
        self._settings = settings
        self._leaving = leaving
        self._told = told
        self._asked: Callable[[], Wanted | None] | None = None
        self._permitted = False
        self._stopped_at: float | None = None

    def to_the_end(self) -> Published | Failed | Stopped | None:
        """Its last word."""
        last: Published | Failed | Stopped | None = None
        while True:
            self._child.alive(self._settings.beat_s)
            self._permit()
            self._stop_if_wanted()
            try:
                report = self._child.reports.get(timeout=_TICK_S)
            except queue.Empty:
                continue
            match report:
                case None:
                    return last
                case Published() | Failed() | Stopped():
                    last = report
                case Ready():
                    self._asked = self._link.permission()
                case _:
                    self._told(report)

    def _permit(self) -> None:
        if self._asked is not None and self._asked() == "run" and not self._stopped_at and not self._leaving.is_set():
            self._asked = None
            self._permitted = True
            self._child.say(Word(say="publish"))

    def _stop_if_wanted(self) -> None:
        away = self._link.silent_s > self._settings.away_s
        if self._permitted or not (self._leaving.is_set() or away or self._link.wanted != "run"):
            return
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
            self._child.say(Word(say="stop"))
        elif time.monotonic() - self._stopped_at > self._settings.grace_s:
            self._child.kill()
