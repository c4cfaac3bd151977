"""What a worker and its child say to each other: one JSON object a line, orders on stdin, reports on stdout."""

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter

from jobs.model import Failure, Progress

PUBLISHED, FAILED, STOPPED = 0, 1, 75  # exit codes of the child; 75 = EX_TEMPFAIL: the same order goes on from here


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def line(self) -> bytes:
        """The message as a line."""
        return self.model_dump_json().encode() + b"\n"


class Order(_Line):
    """The first line: what to train, and how.

    Attributes:
        job: Id of the job, which the bundle's manifest will hold.
        recipe: Complete and resolved.
        runs: Folder of runs; this one is `<runs>/jobs/<job>`.
        store: Where the bundle goes.
        device: `cpu`, or `cuda:N`.
        checkpoint_s: Seconds between checkpoints.
        silence_s: Seconds without a word from the worker after which the child stops by itself.
    """

    job: str
    recipe: dict[str, Any]
    runs: Path
    store: Path
    device: str
    checkpoint_s: float
    silence_s: float

    @property
    def name(self) -> str:
        """The run's folder in `runs`."""
        return f"jobs/{self.job}"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.runs / self.name


class Word(_Line):
    """Any later line: I am still here; stop; you may publish."""

    say: Literal["alive", "stop", "publish"]


class Log(_Line):
    """A line for people."""

    kind: Literal["log"] = "log"
    message: str


class Advance(_Line):
    """How far the run is, and the epochs that were completed since the last word of it."""

    kind: Literal["advance"] = "advance"
    progress: Progress
    epochs: tuple[int, ...] = ()


class Picture(_Line):
    """A grid drawn from fixed latents, a PNG in the run's folder."""

    kind: Literal["picture"] = "picture"
    path: Path
    step: int
    epoch: float


class Ready(_Line):
    """All is exported and measured; may it be published?"""

    kind: Literal["ready"] = "ready"


class Published(_Line):
    """The bundle is in the store."""

    kind: Literal["published"] = "published"
    name: str
    version: int
    digest: str
    metrics: dict[str, float]


class Failed(_Line):
    """The run cannot go on."""

    kind: Literal["failed"] = "failed"
    failure: Failure


class Stopped(_Line):
    """The run has saved its state and ends, as it was told."""

    kind: Literal["stopped"] = "stopped"
    reason: str


Report = Log | Advance | Picture | Ready | Published | Failed | Stopped
_REPORT: TypeAdapter[Report] = TypeAdapter(Report)


def read_report(line: bytes) -> Report:
    """A line of the child.

    Raises:
        ValueError: If it is none.
    """
    return _REPORT.validate_json(line)
