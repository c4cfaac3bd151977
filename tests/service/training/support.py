"""Jobs without a worker: a ledger beside the service, in which the tests do what a worker does."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from jobs.database import open_database
from jobs.ledger import Ledger
from jobs.model import Failure, Job, Progress, Result, WorkerInfo

JOBS = "/training/jobs"
INSTANCE = "tests-00000000"
SMALL: dict[str, Any] = {
    "name": "small",
    "family": "vae",
    "data": {"name": "mnist"},
    "model": {"network": "mlp", "latent_dim": 2, "hidden": [8]},
    "train": {"rounds": 3, "batch_size": 4},
}
PUBLISHED = Result(name="small", version=1, digest="d", metrics={"psnr": 20.0}, promoted=True, reason="the first")


def sqlite(folder: Path) -> str:
    """URL of a database in a folder."""
    return f"sqlite:///{folder}/jobs.sqlite"


def png(shade: int = 0) -> bytes:
    """A small picture."""
    buffer = io.BytesIO()
    Image.new("L", (8, 8), shade).save(buffer, "PNG")
    return buffer.getvalue()


class Runner:
    """What a worker writes of one job."""

    def __init__(self, url: str, job: str) -> None:
        self.ledger = Ledger(open_database(url))
        self.ledger.register(WorkerInfo(instance=INSTANCE, name="tests", host="here", pid=1, device="cpu"))
        started = self.ledger.start(job, self.ledger.get(job).attempt, INSTANCE)
        assert started is not None
        self.job: Job = started

    def log(self, *numbers: int) -> None:
        """An event for each."""
        for number in numbers:
            self.ledger.log(self.job.id, self.job.fence, {"message": str(number)})

    def progress(self, step: int) -> None:
        """A step."""
        now = Progress(
            step=step,
            steps=100,
            stage="train",
            seconds=1.0,
            images_per_second=4.0,
            eta_s=9.0,
            losses={"loss": 1.5, "bad": float("nan")},
            epoch=0.5,
        )
        self.ledger.progress(self.job.id, self.job.fence, now, store_event=True)

    def picture(self, shade: int) -> None:
        """A picture."""
        self.ledger.picture(self.job.id, self.job.fence, png(shade), {"epoch": shade})

    def succeed(self) -> None:
        """The end."""
        self.ledger.finish(self.job.id, self.job.fence, "succeeded", PUBLISHED)

    def fail(self) -> None:
        """Another end."""
        self.ledger.finish(self.job.id, self.job.fence, "failed", failure=Failure(code="diverged", message="NaN"))


@dataclass
class Received:
    """One server-sent event."""

    id: int
    kind: str
    data: dict[str, Any]


@dataclass
class Stream:
    """A stream of events that is being read.

    Attributes:
        heartbeats: Comments so far.
        retry_ms: What the server said.
    """

    response: httpx.Response
    heartbeats: int = 0
    retry_ms: int | None = None
    _lines: Iterator[str] = field(init=False)

    def __post_init__(self) -> None:
        self._lines = self.response.iter_lines()

    def events(self, most: int | None = None) -> list[Received]:
        """The next events: so many, or all up to the end of the stream."""
        found: list[Received] = []
        fields: dict[str, str] = {}
        while most is None or len(found) < most:
            line = next(self._lines, None)
            if line is None:
                assert most is None, f"the stream ended after {len(found)} of {most} events"
                break
            if line.startswith(":"):
                self.heartbeats += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                found.append(Received(int(fields["id"]), fields["event"], json.loads(fields["data"])))
                fields = {}
            elif "retry" in fields:
                self.retry_ms = int(fields.pop("retry"))
        return found


@contextmanager
def watching(url: str, job: str, *, last: int | None = None, **query: Any) -> Iterator[Stream]:
    """A stream of a job's events from a running service."""
    headers = {} if last is None else {"last-event-id": str(last)}
    path = f"{url}{JOBS}/{job}/events"
    with httpx.stream("GET", path, params=query, headers=headers, timeout=60) as response:
        assert response.status_code == 200, response.read()
        yield Stream(response)


def ordered(url: str, **changes: Any) -> str:
    """A new job in a running service; its id."""
    response = httpx.post(f"{url}{JOBS}", json={"recipe": SMALL} | changes, timeout=60)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])
