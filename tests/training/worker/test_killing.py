"""Workers and runs that are killed, stopped, cut off: the result is the same to the bit, and published once."""

import signal

import pytest

from tests.support.postgres import PostgresServer
from tests.training.worker.rig import LAPSE_S, Rig, until

pytestmark = pytest.mark.slow


def test_worker_killed_in_the_middle_of_a_run_is_replaced_and_the_result_is_the_same(
    rig: Rig, undisturbed: str
) -> None:
    job = rig.submit()
    first = rig.worker("first")
    rig.wait_step(job, 200)
    first.send(signal.SIGKILL)
    first.process.wait()
    rig.worker("second")
    assert rig.wait(job).state == "succeeded", rig.logs(job)
    assert rig.weights(job) == undisturbed
    assert rig.states(job) == ["queued", "running", "queued", "running", "succeeded"]


def test_child_killed_in_the_middle_of_a_run_goes_on_from_its_checkpoint(rig: Rig, undisturbed: str) -> None:
    job = rig.submit()
    worker = rig.worker()
    rig.wait_step(job, 200)
    worker.child().kill()
    assert rig.wait(job).state == "succeeded", rig.logs(job)
    assert rig.weights(job) == undisturbed
    assert "going on from the last checkpoint" in rig.said(job)
    assert "going on after round" in (rig.runs / "jobs" / job.id / "worker.log").read_text()


def test_worker_that_is_asked_to_end_gives_the_run_back_with_a_checkpoint(rig: Rig, undisturbed: str) -> None:
    job = rig.submit()
    worker = rig.worker("first")
    rig.wait_step(job, 200)
    assert worker.end() == 0
    given_back = rig.ledger.get(job.id)
    assert (given_back.state, given_back.worker) == ("queued", None)
    assert (rig.runs / "jobs" / job.id / "checkpoint.pt").exists()
    rig.worker("second")
    assert rig.wait(job).state == "succeeded", rig.logs(job)
    assert rig.weights(job) == undisturbed


def test_stopped_worker_is_replaced_after_its_lapse_and_does_no_harm_when_it_wakes_up(
    postgres_rig: Rig, undisturbed: str
) -> None:
    rig = postgres_rig
    job = rig.submit()
    first = rig.worker("first")
    rig.wait_step(job, 200)
    first.send(signal.SIGSTOP)
    second = rig.worker("second")
    until(lambda: (rig.ledger.get(job.id).worker or "").startswith("second"), lambda: rig.logs(job))
    first.send(signal.SIGCONT)
    ended = rig.wait(job)
    assert ended.state == "succeeded", rig.logs(job)
    assert ended.progress is not None
    assert (ended.progress.step, ended.progress.epoch) == (1200, 300.0)
    assert rig.weights(job) == undisturbed
    until(lambda: "somebody else's now" in first.log.read_text(), lambda: rig.logs(job))
    after = rig.submit("after", rounds=10)  # and both are fit for work
    assert rig.wait(after).state == "succeeded", rig.logs(after)
    assert (first.end(), second.end()) == (0, 0)


def test_lapsed_worker_on_another_host_is_replaced(rig: Rig, undisturbed: str) -> None:
    """Its process id says nothing there: only its silence does."""
    job = rig.submit()
    first = rig.worker("first")
    rig.wait_step(job, 200)
    with rig.ledger.database._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE workers SET host = 'elsewhere'")
    first.send(signal.SIGKILL)
    first.process.wait()
    second = rig.worker("second")
    assert rig.wait(job).state == "succeeded", rig.logs(job)
    assert f"silent for {LAPSE_S:g} s" in second.log.read_text()
    assert rig.weights(job) == undisturbed


def test_database_that_stops_and_starts_again_does_not_stop_the_run(
    tmp_path_factory: pytest.TempPathFactory, own_postgres: PostgresServer, undisturbed: str
) -> None:
    rig = Rig(tmp_path_factory.mktemp("restart"), own_postgres.url())
    try:
        job = rig.submit()
        worker = rig.worker()
        rig.wait_step(job, 200)
        child = worker.child().pid
        own_postgres.stop(crash=True)
        until(lambda: "goes on without the database" in worker.log.read_text(), lambda: rig.logs(job))
        own_postgres.start()
        assert rig.wait(job).state == "succeeded", rig.logs(job)
        assert f"process {child}" in worker.log.read_text()
        assert worker.log.read_text().count("process ") == 1, "the run was started again"
        assert rig.states(job) == ["queued", "running", "succeeded"]
        assert rig.weights(job) == undisturbed
    finally:
        rig.close()


def test_worker_killed_right_after_publication_publishes_nothing_twice(rig: Rig) -> None:
    job = rig.submit(rounds=10)
    first = rig.worker("first")
    until(lambda: rig.store.versions(job.name), lambda: rig.logs(job), seconds=240)
    first.send(signal.SIGKILL)
    first.process.wait()
    rig.worker("second")
    assert rig.wait(job).state == "succeeded", rig.logs(job)
    assert rig.bundle(job).manifest.version == 1


def test_worker_can_leave_and_another_one_come_while_the_database_is_away(
    tmp_path_factory: pytest.TempPathFactory, own_postgres: PostgresServer, undisturbed: str
) -> None:
    rig = Rig(tmp_path_factory.mktemp("away"), own_postgres.url())
    try:
        job = rig.submit()
        first = rig.worker("first")
        rig.wait_step(job, 200)
        own_postgres.stop(crash=True)
        until(lambda: "goes on without the database" in first.log.read_text(), first.log.read_text)
        second = rig.worker("second")
        until(lambda: "waiting for the database" in second.log.read_text(), second.log.read_text)
        assert first.end() == 0
        own_postgres.start()
        assert rig.wait(job).state == "succeeded", rig.logs(job)
        assert rig.weights(job) == undisturbed
        assert "going on after round" in (rig.runs / "jobs" / job.id / "worker.log").read_text()
    finally:
        rig.close()
