"""Workers: registered, beating, dead, gone. Times are the database's."""

import time

import pytest
from sqlalchemy import select, text, update

from jobs import staff
from jobs.clock import now
from jobs.database import Database
from jobs.errors import JobNotFoundError
from jobs.ledger import Ledger
from jobs.model import WorkerInfo
from jobs.tables import workers
from tests.jobs.samples import started, worker


def clock(database: Database) -> float:
    return database.read(lambda connection: connection.execute(select(now())).scalar_one())


def lapse(ledger: Ledger) -> list[str]:
    """Who is dead if nobody's last beat counts."""
    return [info.instance for info in ledger.lapsed(lapse_s=-1.0)]


def only(ledger: Ledger) -> WorkerInfo:
    (info,) = ledger.workers()
    return info


def test_beats_are_timed_by_the_databases_clock(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 1e9)
    monkeypatch.setattr(time, "time_ns", lambda: 10**18)
    before = clock(ledger.database)
    ledger.register(worker("w-1"))
    between = clock(ledger.database)
    ledger.beat("w-1", "some-job")
    after = clock(ledger.database)
    info = only(ledger)
    assert before <= info.started_at <= between <= info.beat_at <= after
    assert (info.job, info.alive) == ("some-job", True)


def test_a_worker_without_beats_is_dead_and_alive_with_the_next(ledger: Ledger) -> None:
    ledger.register(worker("w-1"))
    assert lapse(ledger) == ["w-1"]
    assert ledger.lapsed(lapse_s=3600.0) == []
    assert [info.alive for info in Ledger(ledger.database, lapse_s=-1.0).workers()] == [False]
    ledger.beat("w-1", None)
    assert only(ledger).alive


def test_a_dead_workers_job_is_queued_again_as_the_same_attempt(ledger: Ledger) -> None:
    job = started(ledger)
    assert ledger.bury("w-1")
    again = ledger.get(job.id)
    assert (again.state, again.attempt, again.worker) == ("queued", 1, None)
    assert [one.id for one in ledger.waiting()] == [job.id]
    assert not only(ledger).alive


def test_burying_twice_does_it_once(ledger: Ledger) -> None:
    job = started(ledger)
    assert [ledger.bury("w-1"), ledger.bury("w-1")] == [True, False]
    assert len(ledger.events(job.id)) == 3


def test_a_dead_workers_job_that_was_to_be_cancelled_is_cancelled(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.cancel(job.id)
    ledger.bury("w-1")
    assert ledger.get(job.id).state == "cancelled"


def test_a_gone_worker_is_named_until_its_job_has_been_taken_over(ledger: Ledger) -> None:
    """Whoever buries may die before it has told the queue; the next one must learn of it."""
    job = started(ledger)
    ledger.bury("w-1")
    assert lapse(ledger) == ["w-1"]
    ledger.register(worker("w-2"))
    ledger.start(job.id, 1, "w-2")
    assert [info.instance for info in ledger.lapsed(lapse_s=3600.0)] == []


def test_a_worker_that_was_buried_too_early_is_back_without_its_job(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.bury("w-1")
    ledger.beat("w-1", None)
    assert only(ledger).alive
    assert ledger.get(job.id).state == "queued"
    assert ledger.start(job.id, 1, "w-1") is not None


def test_a_worker_that_leaves_leaves_its_job_to_others(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.leave("w-1")
    assert [one.id for one in ledger.waiting()] == [job.id]
    assert not only(ledger).alive


def test_a_beat_of_an_unknown_worker_is_an_error(ledger: Ledger) -> None:
    with pytest.raises(JobNotFoundError, match="'nobody' is not known here"):
        ledger.beat("nobody", None)


def test_workers_long_gone_are_forgotten_unless_they_hold_a_job(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staff, "_REMEMBERED_S", -1.0)
    started(ledger, "holder")
    ledger.register(worker("idle"))
    ledger.bury("holder")
    ledger.bury("idle")
    ledger.register(worker("new"))
    assert {info.instance for info in ledger.workers()} == {"holder", "new"}


def test_time_in_which_postgresql_was_down_is_nobodys_silence(ledger: Ledger) -> None:
    """The tests' server has started within the hour; a beat of a year ago is then as old as the server."""
    ledger.register(worker("w-1"))
    year = "31536000" if ledger.database.dialect == "sqlite" else "interval '1 year'"
    ago = text(f"beat_at - {year}")
    ledger.database.write(lambda connection: connection.execute(update(workers).values(beat_at=ago)))
    lapsed = ledger.lapsed(lapse_s=3600.0)
    assert [info.instance for info in lapsed] == (["w-1"] if ledger.database.dialect == "sqlite" else [])


def test_a_silent_worker_is_present_until_it_is_buried(ledger: Ledger) -> None:
    for instance in ("w-1", "w-2"):
        ledger.register(worker(instance))
    everybody_is_silent = Ledger(ledger.database, lapse_s=-1.0)
    assert everybody_is_silent.present() == {"w-1", "w-2"}
    ledger.bury("w-1")
    assert ledger.present() == {"w-2"}
