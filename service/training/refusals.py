"""What is wrong with an order, as problem documents: every field, what came, and what may stand there."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from bundle.recipes import Problem
from bundle.recipes.allowed import allowed, find, keys
from service.errors import InvalidRequestError
from service.problems import invalid

_MOST_LISTED = 50


def refusal(problems: Sequence[Problem]) -> InvalidRequestError:
    """All of the problems; the first in words."""
    first, more = problems[0], f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
    return InvalidRequestError(
        f"{first.field}: {first.message}{_choice(first)}{more}", errors=[entry(p) for p in problems[:_MOST_LISTED]]
    )


def schema_refusal(error: ValidationError, model: type[BaseModel]) -> InvalidRequestError:
    """What pydantic found wrong with the fields of a body or a query."""
    found = invalid(error)
    entries = found.extra["errors"]
    assert isinstance(entries, list)
    for item, shown in zip(error.errors(include_url=False), entries, strict=False):
        choices = _allowed(item, model)
        if choices is not None:
            shown["allowed"] = choices
    return found


def entry(problem: Problem) -> dict[str, Any]:
    """A problem as a member of `errors`."""
    shown: dict[str, Any] = {"field": problem.field, "message": problem.message, "got": problem.got}
    return shown if problem.allowed is None else shown | {"allowed": problem.allowed}


def _choice(problem: Problem) -> str:
    choices = problem.allowed
    if not choices or any(choice in problem.message for choice in choices):
        return ""
    return f"; allowed: {', '.join(choices[:20])}"


def _allowed(item: Mapping[str, Any], model: type[BaseModel]) -> list[str] | None:
    known, place = find(model, item["loc"])
    if item["type"] == "extra_forbidden":
        return keys(place)
    return allowed(place) if known else None
