"""What comes in under /training: the body of an order, and the query of a list. Unknown fields are refused."""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, PlainValidator, WithJsonSchema

from bundle.manifest import NAME
from jobs.model import State

MOST_JOBS = 200  # in one answer
JOB = r"^[0-9a-zA-Z-]{1,64}$"  # more than ids are; no database has trouble with it


class _Fields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _text_or_table(value: object) -> object:
    if isinstance(value, str | dict):
        return value
    raise ValueError("expected a name or a table")


def _named_or_whole(title: str) -> Any:
    choices = [{"type": "string"}, {"type": "object"}]
    return Annotated[Any, PlainValidator(_text_or_table), WithJsonSchema({"title": title, "anyOf": choices})]


class JobRequest(_Fields):
    """A training job to be done."""

    recipe: _named_or_whole("Recipe") = Field(  # type: ignore[valid-type]
        description="a recipe of GET /training/recipes by name, or a whole one as GET /training/recipes/schema has it"
    )
    overrides: dict[str, Any] = Field(
        {}, description="keys of the recipe to change, dotted: train.epochs, model.latent_dim; they come last"
    )
    data: _named_or_whole("Data") | None = Field(  # type: ignore[valid-type]
        None,
        description="instead of the recipe's [data]: mnist, fashion-mnist, upload:ID of a set that was sent to "
        "POST /training/data, or a whole table",
    )
    name: str | None = Field(None, pattern=NAME, description="of the model, instead of the recipe's")
    priority: int = Field(0, ge=-100, le=100, description="higher goes first; equals go in order of arrival")
    promotion: Literal["auto", "manual"] = Field(
        "auto", description="auto: the new version is promoted if it is better than the one in use"
    )
    device: str | None = Field(
        None, pattern=r"^(cpu|cuda(:[0-9]+)?)$", description="cpu, cuda or cuda:N; left out, any worker takes it"
    )


class ListQuery(_Fields):
    """Which jobs to list."""

    state: list[State] = Field([], description="only jobs in one of these states: repeated, or with commas")
    name: str | None = Field(None, pattern=NAME, description="only jobs for models of this name")
    family: str | None = Field(None, pattern=r"^[a-z0-9._-]{1,64}$", description="only jobs of this family")
    limit: int = Field(50, ge=1, le=MOST_JOBS, description="jobs in one answer")
    before: str | None = Field(None, pattern=JOB, description="only jobs that came before this one, by its id")


class WatchQuery(_Fields):
    """How to watch a job."""

    after: int = Field(0, ge=0, le=2**62, description="as Last-Event-ID, for clients that cannot set it")
    pictures: Literal["links", "inline"] = Field("links", description="inline: each picture as base64 too")


STATES: tuple[State, ...] = get_args(State)
