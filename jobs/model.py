"""What the ledger hands out: jobs, their events, and the workers that run them.

Times are seconds since 1970 by the database's clock.
"""

import json
import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from bundle.manifest import NAME

State = Literal["queued", "running", "cancelling", "cancelled", "failed", "succeeded"]
FINAL: frozenset[State] = frozenset({"cancelled", "failed", "succeeded"})
HELD: frozenset[State] = frozenset({"running", "cancelling"})  # by a worker

Kind = Literal["state", "progress", "epoch", "log", "picture", "result"]
Code = Literal["diverged", "data_missing", "disk_full", "out_of_memory", "crashed", "recipe", "export", "internal"]


def _finite(values: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}


# JSON has no NaN: figures that are no numbers are left out.
Figures = Annotated[dict[str, float], AfterValidator(_finite)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Failure(_Record):
    """Why a job failed: a stable code, and what happened in words."""

    code: Code
    message: str


class Progress(_Record):
    """How far a run is; `losses` that are not finite are left out."""

    step: int = Field(ge=0)
    steps: int = Field(ge=0)
    stage: str
    seconds: FiniteFloat
    images_per_second: FiniteFloat
    eta_s: FiniteFloat | None
    losses: Figures
    epoch: FiniteFloat


class Result(_Record):
    """What a job published, and whether it became the version in use."""

    name: str
    version: int
    digest: str
    metrics: Figures
    promoted: bool
    reason: str


class NewJob(_Record):
    """An order.

    Attributes:
        recipe: Resolved and complete: `name` and `family` are read from it.
        priority: Higher goes first.
        promotion: Whether the worker moves the alias in use when the new version is better.
        device: The device that must run it; None is any.
        idempotency_key: An order with a key that was seen before is the job of that time.
        request_hash: Of what was asked for, to tell orders with the same key apart; left out, the order itself does.
    """

    recipe: dict[str, Any]
    priority: int = Field(default=0, ge=-100, le=100)
    promotion: Literal["auto", "manual"] = "auto"
    device: str | None = Field(default=None, max_length=64)
    idempotency_key: str | None = Field(default=None, min_length=1, max_length=255, pattern=r"^[\x20-\x7e]+$")
    request_hash: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @model_validator(mode="after")
    def _storable(self) -> Self:
        for key, pattern in (("name", NAME), ("family", r".{1,200}")):
            value = self.recipe.get(key)
            if not isinstance(value, str) or not re.fullmatch(pattern, value):
                raise ValueError(f"the recipe's {key} is {value!r}, expected a text that matches {pattern}")
        try:
            text = json.dumps(self.recipe, allow_nan=False, ensure_ascii=False)
            text.encode()
        except (TypeError, ValueError) as error:
            raise ValueError(f"the recipe holds a value that cannot be stored as JSON: {error}") from error
        if "\\u0000" in text:
            raise ValueError("the recipe holds a text with a NUL character; leave it out")
        return self

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.recipe["name"])

    @property
    def family(self) -> str:
        """The model's family."""
        return str(self.recipe["family"])


class Job(_Record):
    """A job as the ledger has it.

    Attributes:
        id: Sorts by the time of the order.
        attempt: 1, and one more after each `resume`.
        fence: Number of the execution that may write; each start of an execution raises it.
        started_at: When the present attempt was first started.
        worker: Instance that runs it or ran it last; None while it waits.
    """

    id: str
    name: str
    family: str
    state: State
    attempt: int
    fence: int
    priority: int
    promotion: Literal["auto", "manual"]
    device: str | None
    recipe: dict[str, Any]
    created_at: float
    started_at: float | None
    ended_at: float | None
    updated_at: float
    worker: str | None
    progress: Progress | None
    result: Result | None
    failure: Failure | None
    cancel_requested: bool

    @property
    def final(self) -> bool:
        """Whether it is over (until somebody resumes it)."""
        return self.state in FINAL


class Event(_Record):
    """Something that happened to a job.

    Events of a job are numbered 1, 2, 3 … without gaps; of a long run some of the middle are dropped later. A `picture`
    whose image was dropped stays, with `"dropped": true` in its data.
    """

    id: int
    job: str
    at: float
    kind: Kind
    data: dict[str, Any]


class WorkerInfo(_Record):
    """A worker process. `register` takes no notice of the times, `job` and `alive`: the database fills them in."""

    instance: str = Field(min_length=1, max_length=128)
    name: str
    host: str
    pid: int
    device: str
    started_at: float = 0.0
    beat_at: float = 0.0
    job: str | None = None
    alive: bool = True
