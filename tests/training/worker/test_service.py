"""What a worker does with jobs that are not for it, and with those that it has lost sight of."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.database import open_database
from jobs.ledger import Ledger
from jobs.model import Failure, Job, NewJob
from tests.training.worker.rig import until
from training.worker import service
from training.worker.service import Worker
from training.worker.settings import WorkerSettings

DONE = Failure(code="internal", message="stands for a run")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(open_database(f"sqlite:///{tmp_path}/jobs.sqlite"), patience_s=5.0)
    yield made
    made.database.close()


@pytest.fixture
def worker(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Iterator[Worker]:
    """One for `cuda:1` that works; its runs are over at once, on no device at all."""

    class Execution:
        def __init__(self, *_: Any) -> None:
            """Needs nothing."""

        def answer(self) -> Failure:
            return DONE

    monkeypatch.setattr(service, "Execution", Execution)
    url = f"sqlite:///{ledger.database.path}"
    settings = WorkerSettings(
        instance="us",
        device="cuda:1",
        database=url,
        runs=tmp_path / "runs",
        store=tmp_path / "store",
        beat_s=0.1,
        poll_s=0.1,
    )
    made = Worker(settings)
    thread = threading.Thread(target=made.run)
    thread.start()
    until(lambda: ledger.present() == {"us"}, "not there", 20)
    yield made
    made.leaving.set()
    thread.join(30)
    assert not thread.is_alive()


def order(ledger: Ledger, device: str | None = None, priority: int = 0) -> Job:
    new = NewJob(recipe={"name": "tiny", "family": "vae"}, device=device, priority=priority)
    return ledger.submit(new)[0]


def done(ledger: Ledger, job: Job) -> bool:
    return ledger.get(job.id).failure == DONE


def test_job_for_another_device_of_the_kind_is_left_to_a_worker_of_that(ledger: Ledger, worker: Worker) -> None:
    """The durable queue is of the kind: it gave the job to us."""
    until(lambda: worker._queue._queue, "no queue", 20)
    other = order(ledger, "cuda:0", priority=5)
    assert worker._queue.ensure(other)
    until(lambda: not worker._queue.holds_work() and not worker._queue.held(), "not given back", 20)
    for device in (None, "cuda", "cuda:1"):
        ours = order(ledger, device)
        until(lambda ours=ours: done(ledger, ours), "not run", 20)
    assert (ledger.get(other.id).state, ledger.get(other.id).fence) == ("queued", 0)
    assert worker._queue.ensure(other), "a worker of that device can have it"


@pytest.mark.usefixtures("worker")
def test_job_that_the_ledger_says_is_ours_and_that_nobody_runs_goes_back_to_the_queue(ledger: Ledger) -> None:
    """Its execution ended by an exception of which the ledger heard nothing."""
    job = order(ledger, "cuda:0")
    started = ledger.start(job.id, 1, "us")
    assert started is not None
    until(lambda: ledger.get(job.id).state == "queued", "never released", 20)
    assert [event.data["state"] for event in ledger.events(job.id)] == ["queued", "running", "queued"]


def test_job_that_runs_is_not_taken_for_one_that_was_forgotten(
    ledger: Ledger, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked, enough = threading.Semaphore(0), threading.Event()
    held_by = worker._ledger.held_by

    class Long:
        def __init__(self, *_: Any) -> None:
            """Needs nothing."""

        def answer(self) -> Failure:
            assert enough.wait(30)
            return DONE

    def look(instance: str) -> list[Job]:
        looked.release()
        return held_by(instance)

    monkeypatch.setattr(service, "Execution", Long)
    job = order(ledger)
    until(lambda: ledger.get(job.id).state == "running", "not run", 20)
    monkeypatch.setattr(worker._ledger, "held_by", look)
    for _ in range(4):
        assert looked.acquire(timeout=20)
    enough.set()
    until(lambda: done(ledger, job), "not over", 20)
    assert ledger.get(job.id).fence == 1
