"""PostgreSQL stopped and started in between."""

import threading
import time

import pytest

from jobs.database import open_database
from jobs.errors import DatabaseError
from jobs.ledger import Ledger
from jobs.notify import Listener, Notice
from tests.jobs.samples import RESULT, started, states, submitted
from tests.support.postgres import PostgresServer


@pytest.mark.parametrize("crash", [False, True])
def test_a_patient_ledger_outlives_a_restart_and_writes_once(own_postgres: PostgresServer, crash: bool) -> None:
    patient = Ledger(open_database(own_postgres.url()), patience_s=120.0)
    job = started(patient)
    done: list[int] = []

    def write_lines() -> None:
        for i in range(200):
            patient.log(job.id, job.fence, {"i": i})
            done.append(i)

    writer = threading.Thread(target=write_lines)
    writer.start()
    for at in (20, 60):
        while len(done) < at:
            time.sleep(0.001)
        own_postgres.stop(crash=crash)
        assert writer.is_alive()
        own_postgres.start()
    writer.join(120)
    patient.finish(job.id, job.fence, "succeeded", result=RESULT)
    events = patient.events(job.id)
    assert [event.data["i"] for event in events if event.kind == "log"] == list(range(200))
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert states(events) == ["queued", "running", "succeeded"]
    patient.database.close()


def test_the_service_is_refused_at_once_and_served_with_the_first_call_after(own_postgres: PostgresServer) -> None:
    ledger = Ledger(open_database(own_postgres.url()))
    job = submitted(ledger)
    own_postgres.stop()
    with pytest.raises(DatabaseError, match="cannot be used now"):
        ledger.get(job.id)
    with pytest.raises(DatabaseError, match="cannot be used now"):
        Ledger(ledger.database, patience_s=0.5).get(job.id)
    own_postgres.start()
    assert ledger.get(job.id) == job
    ledger.database.close()


def test_a_restart_that_nobody_noticed_fails_no_call(own_postgres: PostgresServer) -> None:
    ledger = Ledger(open_database(own_postgres.url()))
    job = submitted(ledger)
    own_postgres.stop()
    own_postgres.start()
    assert ledger.get(job.id) == job
    ledger.database.close()


def test_a_database_that_is_down_at_the_start_is_used_when_it_comes(own_postgres: PostgresServer) -> None:
    own_postgres.stop()
    ledger = Ledger(open_database(own_postgres.url()))
    with pytest.raises(DatabaseError, match="cannot be used now"):
        submitted(ledger)
    own_postgres.start()
    assert submitted(ledger).state == "queued"
    ledger.database.close()


def test_a_job_goes_on_with_its_fence_after_a_restart(own_postgres: PostgresServer) -> None:
    """Nobody could beat while the database was down: nobody is dead for it."""
    ledger = Ledger(open_database(own_postgres.url()), patience_s=120.0)
    job = started(ledger)
    own_postgres.run("UPDATE genserve.workers SET beat_at = now() - interval '1 hour'")
    own_postgres.stop()
    own_postgres.start()
    assert ledger.lapsed(lapse_s=1800.0) == []
    assert ledger.wanted(job.id, job.fence) == "run"
    ledger.database.close()


def test_a_listener_hears_again_after_a_restart(own_postgres: PostgresServer) -> None:
    heard: list[Notice] = []
    changed = threading.Condition()

    def hear(notice: Notice) -> None:
        with changed:
            heard.append(notice)
            changed.notify_all()

    def wait_for(kind: str, count: int) -> None:
        with changed:
            assert changed.wait_for(lambda: sum(notice.kind == kind for notice in heard) >= count, 60), heard

    ledger = Ledger(open_database(own_postgres.url()), patience_s=120.0)
    with Listener(own_postgres.url(), hear):
        wait_for("missed", 1)
        own_postgres.stop(crash=True)
        own_postgres.start()
        wait_for("missed", 2)
        submitted(ledger)
        wait_for("job", 1)
    ledger.database.close()
