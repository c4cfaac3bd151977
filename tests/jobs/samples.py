"""Orders, workers and reports as the tests write them."""

from typing import Any

from jobs.ledger import Ledger
from jobs.model import Event, Failure, Job, NewJob, Progress, Result, WorkerInfo

FAILURE = Failure(code="diverged", message="the loss is not a number at step 7")
RESULT = Result(name="tiny", version=3, digest="ab", metrics={"fid": 1.5}, promoted=True, reason="better")


def recipe(**changes: Any) -> dict[str, Any]:
    return {"name": "tiny", "family": "vae", "train": {"epochs": 2.0}} | changes


def order(key: str | None = None, **changes: Any) -> NewJob:
    return NewJob(recipe=recipe(), idempotency_key=key, **changes)


def worker(instance: str) -> WorkerInfo:
    return WorkerInfo(instance=instance, name="w", host="h", pid=1, device="cpu")


def progress(step: int = 1, **changes: Any) -> Progress:
    values = {"step": step, "steps": 10, "stage": "all", "seconds": 1.0, "images_per_second": 9.0, "eta_s": 2.0}
    return Progress.model_validate(values | {"losses": {"loss": 0.5}, "epoch": 0.1} | changes)


def submitted(ledger: Ledger, **changes: Any) -> Job:
    job, _ = ledger.submit(order(**changes))
    return job


def started(ledger: Ledger, instance: str = "w-1") -> Job:
    """A job that a worker runs."""
    ledger.register(worker(instance))
    job = ledger.start(submitted(ledger).id, 1, instance)
    assert job is not None
    return job


def states(events: list[Event]) -> list[str]:
    return [event.data["state"] for event in events if event.kind == "state"]
