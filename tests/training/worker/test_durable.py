"""What DBOS carries, and what we have to do for it: cases from its own tracker (dbos-transact-py) among them."""

import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.database import Database, open_database
from jobs.ledger import Ledger
from jobs.model import Job, NewJob
from tests.support.postgres import PostgresServer
from tests.training.worker.rig import until
from training.worker.durable import DurableQueue, Held, dbos_file
from training.worker.execution import Leave


class Executor:
    """A worker's queue; `body` is what it does with a job."""

    def __init__(self, database: Database, instance: str) -> None:
        self.queue = DurableQueue(database, instance, "cpu", 0.1)
        self.ran: list[tuple[str, int]] = []
        self.queue.open(self._run)

    def _run(self, job: str, attempt: int) -> None:
        self.ran.append((job, attempt))
        self.body(job)

    def body(self, job: str) -> None:
        """Nothing, unless a test says otherwise."""


class Leaving(Executor):
    """One that has taken a step of each job when it has to end."""

    def body(self, job: str) -> None:
        self.queue.step("first", lambda: {"by": "leaving", "job": job})
        raise Leave


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = open_database(f"sqlite:///{tmp_path}/jobs.sqlite")
    yield made
    made.close()


def order(database: Database, **what: int) -> Job:
    return Ledger(database).submit(NewJob(recipe={"name": "tiny", "family": "vae"}, **what))[0]


def test_attempt_is_run_once_however_often_it_is_asked_for(database: Database) -> None:
    one = Executor(database, "one")
    try:
        job = order(database)
        for _ in range(3):
            one.queue.ensure(job)
        until(lambda: one.ran, "not run", 20)
        until(lambda: not one.queue.held() and not one.queue.holds_work(), "not over", 20)
        assert one.ran == [(job.id, 1)]
        second = Ledger(database)
        second.cancel(job.id)
        resumed = second.resume(job.id)
        one.queue.ensure(resumed)
        until(lambda: len(one.ran) == 2, "not run", 20)
        assert one.ran[1] == (job.id, 2)
    finally:
        one.queue.close()


def test_workflow_that_dbos_believes_to_be_over_begins_again_where_the_ledger_says_so(database: Database) -> None:
    one = Executor(database, "one")
    try:
        job = order(database)
        one.queue.ensure(job)
        until(lambda: one.ran and not one.queue.held(), "not over", 20)
        assert one.queue.ensure(job)
        until(lambda: len(one.ran) == 2, "not run again", 20)
    finally:
        one.queue.close()


def test_work_of_a_dead_executor_is_gone_on_with_after_its_recorded_steps(database: Database) -> None:
    """Recovery at launch covers the same executor id alone; that of others is ours to ask for."""
    one = Leaving(database, "one")
    job = order(database)
    one.queue.ensure(job)
    until(lambda: one.ran, "not run", 20)
    one.queue.close()

    taken: list[dict[str, str]] = []

    class Heir(Executor):
        def body(self, job: str) -> None:
            taken.append(self.queue.step("first", lambda: {"by": "heir", "job": job}))

    two = Heir(database, "two")
    try:
        time.sleep(1)
        assert two.ran == []
        assert two.queue.held() == [Held(f"{job.id}-1", "one")]
        two.queue.recover({"one"})
        two.queue.recover({"one"})
        until(lambda: taken, "not taken over", 20)
        until(lambda: not two.queue.held(), "not over", 20)
        two.queue.recover({"one"})  # of another look, which began before: finds nothing of the dead any more
        assert taken == [{"by": "leaving", "job": job.id}]
        assert two.ran == [(job.id, 1)]
    finally:
        two.queue.close()


def test_workflow_that_was_claimed_and_never_dispatched_is_retaken(database: Database, tmp_path: Path) -> None:
    """Issues 546 and 805: it is PENDING under a living executor, and no queue looks at it again."""
    one = Leaving(database, "one")
    try:
        job = order(database)
        one.queue.ensure(job)
        until(lambda: one.ran, "not run", 20)  # from here on it is ours and nobody runs it
        with sqlite3.connect(dbos_file(tmp_path / "jobs.sqlite")) as raw:
            assert raw.execute("SELECT status, executor_id FROM workflow_status").fetchall() == [("PENDING", "one")]
        raw.close()
        one.queue.retake(f"{job.id}-1")
        until(lambda: len(one.ran) == 2, "not retaken", 20)
    finally:
        one.queue.close()


def test_one_at_a_time_and_by_priority(database: Database) -> None:
    started: list[str] = []
    at_once: list[int] = []
    busy = threading.Semaphore(1)

    class Busy(Executor):
        def body(self, job: str) -> None:
            at_once.append(int(busy.acquire(blocking=False)))
            started.append(job)
            time.sleep(0.3)
            busy.release()

    jobs = [order(database, priority=priority) for priority in (0, -100, 100)]
    one = Busy(database, "one")
    try:
        first = order(database)
        one.queue.ensure(first)
        until(lambda: started, "not run", 20)
        for job in jobs:
            one.queue.ensure(job)
        until(lambda: len(started) == 4, "not all run", 20)
        assert started == [first.id, jobs[2].id, jobs[0].id, jobs[1].id]
        assert at_once == [1, 1, 1, 1]
    finally:
        one.queue.close()


@pytest.mark.slow
def test_database_that_restarts_during_recovery_strands_nothing(own_postgres: PostgresServer) -> None:
    """Issue 716: what one look fails to recover, the next one finds again."""
    database = open_database(own_postgres.url())
    one = Leaving(database, "one")
    job = order(database)
    one.queue.ensure(job)
    until(lambda: one.ran, "not run", 20)
    one.queue.close()
    two = Executor(database, "two")
    try:
        own_postgres.stop(crash=True)
        looking = threading.Thread(target=two.queue.recover, args=({"one"},))
        looking.start()
        time.sleep(2)
        own_postgres.start()
        looking.join(90)
        assert not looking.is_alive()
        two.queue.recover({held.executor for held in two.queue.held()} - {"two"})
        until(lambda: two.ran == [(job.id, 1)], "not taken over", 60)
    finally:
        two.queue.close()
        database.close()
