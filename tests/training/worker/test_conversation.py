"""What is settled between a worker and its run before anything is published."""

import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from jobs.database import open_database
from jobs.errors import JobStateError
from jobs.ledger import Ledger
from jobs.model import Job, NewJob, WorkerInfo
from training.worker.execution import _Conversation
from training.worker.link import Link
from training.worker.process import Child
from training.worker.protocol import Published, Ready, Report, Stopped, Word
from training.worker.settings import WorkerSettings

PUBLISHED = Published(name="tiny", version=1, digest="ab", metrics={})


class Eager:
    """Stands for a child that has exported: it asks, and does what it is told."""

    def __init__(self, ledger: Ledger, job: Job) -> None:
        self.reports: queue.Queue[Report | None] = queue.Queue()
        self.reports.put(Ready())
        self.refused = False
        self._ledger = ledger
        self._job = job

    def say(self, word: Word) -> None:
        if word.say == "publish":
            try:
                self._ledger.cancel(self._job.id)
            except JobStateError:
                self.refused = True
        self.reports.put(PUBLISHED if word.say == "publish" else Stopped(reason="told to"))
        self.reports.put(None)

    def alive(self, every_s: float) -> None:
        """It hears nothing."""

    def kill(self) -> None:
        """It ends by itself."""


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(open_database(f"sqlite:///{tmp_path}/jobs.sqlite"))
    made.register(WorkerInfo(instance="one", name="one", host="here", pid=1, device="cpu"))
    yield made
    made.database.close()


@pytest.fixture
def job(ledger: Ledger) -> Job:
    started = ledger.start(ledger.submit(NewJob(recipe={"name": "tiny", "family": "vae"}))[0].id, 1, "one")
    assert started is not None
    return started


def last_word(ledger: Ledger, job: Job, child: Eager) -> Any:
    link = Link(ledger, job.id, job.fence)
    try:
        talk = _Conversation(cast(Child, child), link, WorkerSettings(), threading.Event(), lambda _: None)
        return talk.to_the_end()
    finally:
        link.close()


def test_run_that_is_told_to_publish_can_be_cancelled_no_more(ledger: Ledger, job: Job) -> None:
    child = Eager(ledger, job)
    assert last_word(ledger, job, child) == PUBLISHED
    assert child.refused
    assert ledger.bury("one")
    assert ledger.get(job.id).state == "queued", "its successor finds the bundle"


def test_run_that_is_cancelled_before_it_asks_is_stopped(ledger: Ledger, job: Job) -> None:
    ledger.cancel(job.id)
    assert isinstance(last_word(ledger, job, Eager(ledger, job)), Stopped)
