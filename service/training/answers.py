"""The answers under /training: what is written, and the schemas that say so."""

from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from jobs.model import Event, Failure, Job, Progress, Result, State, WorkerInfo

JOBS = "/training/jobs"
RECIPES = "/training/recipes"


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class JobLinks(_Answer):
    """Where to go from a job."""

    self: str
    events: str = Field(description="server-sent events")
    model: str | None = Field(None, description="what was published, once it was")


class JobSummary(_Answer):
    """A job; times are RFC 3339, UTC."""

    id: str = Field(description="sorts by the time of arrival")
    name: str = Field(description="of the model")
    family: str
    state: State
    attempt: int = Field(description="1, and one more each time that it was resumed")
    priority: int
    promotion: Literal["auto", "manual"]
    device: str | None
    worker: str | None = Field(description="that runs it, or ran it last")
    created_at: str
    started_at: str | None
    ended_at: str | None
    updated_at: str
    cancel_requested: bool
    progress: Progress | None
    result: Result | None = Field(description="the version that was published")
    failure: Failure | None
    links: JobLinks


class JobAnswer(JobSummary):
    """A job with all that it was ordered with."""

    recipe: dict[str, Any] = Field(description="complete: every default is written out")


class JobsAnswer(_Answer):
    """Jobs, newest first."""

    jobs: list[JobSummary]
    next: str | None = Field(description="where the list goes on; null at its end")


class WorkerAnswer(_Answer):
    """A worker process."""

    instance: str
    name: str
    host: str
    pid: int
    device: str
    started_at: str
    beat_at: str = Field(description="when it was last heard of")
    job: str | None
    alive: bool


class WorkersAnswer(_Answer):
    """All workers that are known."""

    workers: list[WorkerAnswer]


class RecipeProblem(_Answer):
    """A key that has to be set before the recipe can be used."""

    field: str
    message: str
    got: Any = None
    allowed: list[str] | None = None


class RecipeSummary(_Answer):
    """A recipe that jobs can name."""

    name: str
    family: str | None
    data: str | None
    about: str = Field(description="what its author says of it")
    problems: list[RecipeProblem] = Field(description="what has to be set by `overrides` before it can be used")
    links: dict[str, str]


class RecipesAnswer(_Answer):
    """All recipes."""

    recipes: list[RecipeSummary]


class RecipeAnswer(RecipeSummary):
    """A recipe and its tables."""

    recipe: dict[str, Any] = Field(description="complete, unless there are problems")


MODELS = (JobAnswer, JobsAnswer, WorkersAnswer, RecipesAnswer, RecipeAnswer)


def job_path(job: str) -> str:
    """Where a job is."""
    return f"{JOBS}/{job}"


def show_job(job: Job) -> dict[str, Any]:
    """As `JobAnswer`."""
    return summary(job) | {"recipe": job.recipe}


def summary(job: Job) -> dict[str, Any]:
    """As `JobSummary`."""
    links = {"self": job_path(job.id), "events": f"{job_path(job.id)}/events"}
    if job.result is not None:
        links["model"] = f"/models/{job.result.name}@{job.result.version}"
    shown = job.model_dump(
        mode="json", exclude={"fence", "recipe", "created_at", "started_at", "ended_at", "updated_at"}
    )
    return shown | {
        "created_at": moment(job.created_at),
        "started_at": moment(job.started_at),
        "ended_at": moment(job.ended_at),
        "updated_at": moment(job.updated_at),
        "links": links,
    }


def show_worker(worker: WorkerInfo) -> dict[str, Any]:
    """As `WorkerAnswer`."""
    times = {"started_at": moment(worker.started_at), "beat_at": moment(worker.beat_at)}
    return worker.model_dump(mode="json") | times


def event_data(event: Event) -> dict[str, Any]:
    """Data of an event, with the time and, for a picture that is still there, its place."""
    data: dict[str, Any] = {"job": event.job, "at": moment(event.at), **event.data}
    if event.kind == "picture" and not event.data.get("dropped"):
        data["url"] = f"{job_path(event.job)}/pictures/{event.id}"
    return data


def moment(seconds: float | None) -> str | None:
    """A time since 1970 as RFC 3339, to the millisecond."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
