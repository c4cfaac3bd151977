"""What is asked of workers: cancelling, going on, whose turn it is, and one worker per job."""

import itertools
import time
from typing import Any

import pytest

from bundle.recipes import check_recipe, resolved
from jobs.model import NewJob
from tests.training.worker.rig import Rig, until

pytestmark = pytest.mark.slow


def test_cancelled_run_stops_within_a_step_keeps_its_checkpoint_and_goes_on_from_it(rig: Rig) -> None:
    job = rig.submit(rounds=12_000)  # the worker hears of it within half a second, and 1,200 rounds take one
    worker = rig.worker()
    rig.wait_step(job, 200)
    assert rig.ledger.cancel(job.id).state == "cancelling"
    cancelled = rig.wait(job)
    assert cancelled.state == "cancelled", rig.logs(job)
    assert cancelled.progress is not None
    assert cancelled.progress.step < cancelled.progress.steps
    assert (rig.runs / "jobs" / job.id / "checkpoint.pt").exists()
    rig.ledger.resume(job.id)
    assert rig.wait(job).state == "succeeded", rig.logs(job)
    assert "going on after round" in (rig.runs / "jobs" / job.id / "worker.log").read_text()
    undisturbed = rig.submit("undisturbed", rounds=12_000)
    assert rig.wait(undisturbed).state == "succeeded", rig.logs(undisturbed)
    assert rig.weights(job) == rig.weights(undisturbed)
    assert worker.process.poll() is None


def test_run_cancelled_while_it_exports_publishes_nothing(rig: Rig) -> None:
    job = rig.submit(rounds=10)
    rig.worker()
    until(lambda: "exporting" in rig.said(job), lambda: rig.logs(job))
    rig.ledger.cancel(job.id)
    assert rig.wait(job).state == "cancelled", rig.logs(job)
    time.sleep(1)
    assert rig.store.versions(job.name) == []


def test_jobs_are_taken_by_priority_and_then_by_age(rig: Rig) -> None:
    """They all fail for want of data, which takes no time."""
    orders = {"low": -5, "first": 0, "second": 0, "high": 50}
    jobs = {name: rig.submit(name, {"priority": priority}) for name, priority in orders.items()}
    other = rig.submit("elsewhere", {"device": "cuda", "priority": 100})
    rig.data.unlink()
    rig.worker()
    ended = {name: rig.wait(job) for name, job in jobs.items()}
    assert {job.failure.code for job in ended.values() if job.failure} == {"data_missing"}, rig.logs(other)
    spans = {name: (job.started_at or 0.0, job.ended_at or 0.0) for name, job in ended.items()}
    by_start = sorted(spans, key=lambda name: spans[name])
    assert by_start == ["high", "first", "second", "low"]
    assert all(spans[one][1] <= spans[two][0] for one, two in itertools.pairwise(by_start))
    assert rig.ledger.get(other.id).state == "queued"  # no device of that kind here


@pytest.mark.parametrize("database", ["rig", "postgres_rig"])
def test_several_workers_share_the_jobs_and_never_run_one_twice(database: str, request: pytest.FixtureRequest) -> None:
    rig: Rig = request.getfixturevalue(database)
    jobs = [rig.submit(f"job-{i}", rounds=10) for i in range(3)]
    for name in ("one", "two"):
        rig.worker(name)
    ended = [rig.wait(job) for job in jobs]
    assert [job.state for job in ended] == ["succeeded"] * 3, rig.logs(jobs[0])
    assert [job.fence for job in ended] == [1] * 3
    assert len({job.worker for job in ended}) == 2
    for job in jobs:
        assert rig.bundle(job).manifest.version == 1
        assert rig.states(job) == ["queued", "running", "succeeded"]


def test_encoder_of_a_published_generator_is_a_job_like_any_other(rig: Rig) -> None:
    train = {"batch_size": 16, "rounds": 20}
    tables: list[dict[str, Any]] = [
        {
            "name": "tiny-gan",
            "family": "gan",
            "model": {"network": "mlp", "hidden": [8], "d_hidden": [8], "latent_dim": 2},
        },
        {"name": "tiny-gan", "family": "inference", "model": {"parent": "tiny-gan", "channels": 4}},
    ]
    rig.worker()
    for table in tables:
        data = {"name": "npz", "path": str(rig.data)}
        found = resolved(check_recipe({**table, "data": data, "train": train}, own_files=True))
        job = rig.ledger.submit(NewJob(recipe=found))[0]
        assert rig.wait(job).state == "succeeded", rig.logs(job)
    first, second = (rig.store.open(f"tiny-gan@{version}") for version in (1, 2))
    assert set(second.manifest.graphs) == {*first.manifest.graphs, "encode"}
    assert second.manifest.parent is not None
    assert second.manifest.parent.digest == first.digest
