"""Everything is killed at random while jobs run; nothing is lost, nothing is published twice."""

import random
import signal
import time
from pathlib import Path

import pytest

from jobs.errors import DatabaseError, JobStateError
from jobs.model import Job
from tests.support.postgres import PostgresServer
from tests.training.worker.rig import Rig, WorkerProcess

KILLING_S = 90.0


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_jobs_survive_random_deaths_of_workers_runs_and_database(tmp_path: Path, own_postgres: PostgresServer) -> None:
    rig = Rig(tmp_path, own_postgres.url())
    chance = random.Random(20)
    try:
        jobs = [rig.submit(f"job-{i}", rounds=300) for i in range(4)]
        cancelled = rig.submit("cancelled", {"priority": -10}, rounds=100_000)
        workers = [rig.worker(f"w{i}") for i in range(2)]
        deadline, count = time.monotonic() + KILLING_S, 2
        while time.monotonic() < deadline:
            time.sleep(chance.uniform(3, 9))
            victim = chance.choice(["worker", "sleeper", "child", "database"])
            if victim == "database":
                own_postgres.stop(crash=chance.random() < 0.5)
                time.sleep(chance.uniform(0.5, 4))
                own_postgres.start()
                continue
            i = chance.randrange(2)
            if victim == "child":
                for child in workers[i].children()[:1]:
                    child.kill()
                continue
            if victim == "sleeper":
                workers[i].send(signal.SIGSTOP)
                time.sleep(chance.uniform(1, 6))
                workers[i].send(signal.SIGCONT)
                continue
            workers[i].send(chance.choice([signal.SIGKILL, signal.SIGTERM]))
            workers[i].process.wait(120)
            workers[i] = rig.worker(f"w{count}")
            count += 1
        _cancel(rig, cancelled)
        for job in [*jobs, cancelled]:
            found = rig.wait(job)
            if found.state == "failed":  # three deaths in a row are not the run's fault here
                assert found.failure is not None
                assert found.failure.code == "crashed", rig.logs(job)
                rig.ledger.resume(job.id)
                found = rig.wait(job)
            assert found.state == ("cancelled" if job.id == cancelled.id else "succeeded"), rig.logs(job)
        assert len({rig.weights(job) for job in jobs}) == 1  # same recipe, same weights, whatever happened to each
        assert rig.store.versions("cancelled") == []
        for job in jobs:
            numbers = [event.id for event in rig.ledger.events(job.id)]
            assert numbers == list(range(1, len(numbers) + 1))
            assert rig.states(job)[-1] == "succeeded"
        assert all(_ended(worker) for worker in workers)
    finally:
        rig.close()


def _cancel(rig: Rig, job: Job) -> None:
    try:
        rig.ledger.cancel(job.id)
    except (JobStateError, DatabaseError) as error:
        pytest.fail(f"{error}\n{rig.logs(job)}")


def _ended(worker: WorkerProcess) -> bool:
    return worker.end() == 0
