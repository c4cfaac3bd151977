"""Runs that cannot succeed end in a failed job with a reason, and the worker takes the next one."""

import resource
from typing import Any

import numpy as np
import pytest

from jobs.model import Code, Job, NewJob
from tests.training.worker.rig import Rig, recipe, until

pytestmark = pytest.mark.slow


def failed(rig: Rig, job: Job, code: Code) -> str:
    """The message of a job that failed with this code; its worker lives, and finishes the next job."""
    found = rig.wait(job)
    assert found.failure is not None, rig.logs(job)
    assert found.failure.code == code, rig.logs(job)
    assert rig.store.versions(job.name) == []
    return found.failure.message


def test_failures_have_codes_and_reasons_and_the_worker_lives_on(rig: Rig) -> None:
    gone = rig.folder / "gone.npz"
    broken = rig.folder / "broken.npz"
    np.savez(broken, x_train=np.zeros((4, 4), np.float32))
    orders: list[tuple[Job, Code, str]] = [
        (_with_data(rig, "gone", str(gone)), "data_missing", "gone.npz"),
        (_with_data(rig, "broken", str(broken)), "data_missing", "broken.npz"),
        (rig.submit("wild", lr=10.0), "diverged", "loss is"),
        (_without_family(rig), "recipe", "no-such-family"),
    ]
    after = rig.submit("after", rounds=10)
    worker = rig.worker()
    for job, code, words in orders:
        assert words in failed(rig, job, code)
    assert rig.wait(after).state == "succeeded", rig.logs(after)
    assert rig.ledger.workers()[0].alive
    assert worker.process.poll() is None


def test_run_that_fills_the_disk_fails_and_leaves_no_half_a_checkpoint(rig: Rig) -> None:
    """A limit on the size of files stands for a full disk: neither takes another byte."""
    job = rig.submit("large", hidden=[512, 512], latent_dim=64)
    after = rig.submit("after", rounds=10)
    rig.worker(limits={resource.RLIMIT_FSIZE: 6_000_000})
    assert "free some space" in failed(rig, job, "disk_full")
    assert not list((rig.runs / "jobs" / job.id).glob("checkpoint.*"))
    assert rig.wait(after).state == "succeeded", rig.logs(after)


def test_run_that_needs_too_much_memory_fails(rig: Rig) -> None:
    job = rig.submit("huge", hidden=[30_000, 60_000])
    after = rig.submit("after", rounds=10)
    rig.worker(limits={resource.RLIMIT_DATA: 6 * 2**30})
    assert "use a smaller" in failed(rig, job, "out_of_memory")
    assert rig.wait(after).state == "succeeded", rig.logs(after)


def test_run_whose_process_dies_again_and_again_fails_and_can_be_resumed(rig: Rig) -> None:
    job = rig.submit(rounds=100_000)
    worker = rig.worker(checkpoint=1000)
    for count in range(5):
        child = worker.child()
        child.kill()
        until(lambda child=child: child not in worker.children(), f"child {count} lives on")
    assert "SIGKILL, 5 times" in failed(rig, job, "crashed")
    rig.ledger.resume(job.id)
    again = rig.wait_step(job, 1)
    assert (again.state, again.attempt, again.failure) == ("running", 2, None)


def test_job_that_failed_for_its_data_succeeds_when_it_is_resumed_with_them(rig: Rig) -> None:
    path = rig.folder / "late.npz"
    job = _with_data(rig, "late", str(path), rounds=10)
    rig.worker()
    failed(rig, job, "data_missing")
    path.write_bytes(rig.data.read_bytes())
    rig.ledger.resume(job.id)
    assert rig.wait(job).state == "succeeded", rig.logs(job)
    assert rig.bundle(job).manifest.version == 1


def _with_data(rig: Rig, name: str, path: str, **train: Any) -> Job:
    return _changed(rig, name, {"data": {"name": "npz", "path": path}}, **train)


def _without_family(rig: Rig) -> Job:
    return _changed(rig, "odd", {"family": "no-such-family"})


def _changed(rig: Rig, name: str, changes: dict[str, Any], **train: Any) -> Job:
    table = recipe(rig.data, name, **train)
    for key, value in changes.items():
        table[key] = {**table[key], **value} if isinstance(value, dict) else value
    return rig.ledger.submit(NewJob(recipe=table))[0]
