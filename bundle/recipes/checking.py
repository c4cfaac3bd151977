"""From a table of anything to a recipe, or to a list of all that is wrong with it."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from bundle.recipes.allowed import allowed, find, keys
from bundle.recipes.errors import Contradictions, Problem, RecipeError, plain
from bundle.recipes.evaluation import EvaluationSettings
from bundle.recipes.families import FAMILIES
from bundle.recipes.fitting import KnownData, misfits
from bundle.recipes.tables import Recipe

Model = TypeVar("Model", bound=BaseModel)


def check_table(model: type[Model], table: Mapping[str, Any], where: str) -> Model:
    """A table as its model.

    Raises:
        RecipeError: For each key that is wrong: which, what came, what is allowed.
    """
    found, problems = _checked(model, table)
    if found is None:
        raise RecipeError.of(where, problems)
    return found


def check_recipe(
    table: Mapping[str, Any], *, where: str = "recipe", known: KnownData | None = None, own_files: bool = False
) -> Recipe:
    """A recipe that can be carried out, whole: `[model]` and `[evaluate]` checked and filled in.

    An encoder (`inference`) names its parent's bundle in `model.parent`, and gets its name, as its bundle will; its
    `[evaluate]` is checked but not filled in, since what it leaves out is as in the parent's recipe. The recipe that a
    bundle with an encoder holds has its parent's recipe in that place: `check_table` reads it, but to train another
    encoder the bundle must be named.

    Args:
        table: As read from TOML or JSON.
        where: What to call the recipe in the error.
        known: What is known of its data; left out, what the schema itself knows.
        own_files: Whether `data.path` may be any path of this machine; otherwise only one below the data folders.

    Raises:
        RecipeError: For each key that is wrong, or does not go together with another.
    """
    recipe, problems = _checked(Recipe, table)
    tables = table if isinstance(table, Mapping) else {}
    family = FAMILIES.get(tables["family"]) if isinstance(tables.get("family"), str) else None
    if family is None and isinstance(tables.get("family"), str):
        problems.append(_no_family(tables["family"]))
    model, of_model = _checked_part(family, tables, "model") if family else (None, [])
    evaluate, of_evaluate = _checked_part(EvaluationSettings, tables, "evaluate")
    problems += [*of_model, *of_evaluate]
    if recipe and evaluate and not _refers(recipe):
        recipe = recipe.model_copy(update={"evaluate": evaluate.model_dump(mode="json")})
    if recipe and model:
        recipe = recipe.model_copy(update={"model": model.model_dump(mode="json")})
        problems += misfits(recipe, model, known, own_files)
    if problems or recipe is None:
        raise RecipeError.of(where, problems)
    if _refers(recipe):
        recipe = recipe.model_copy(update={"name": recipe.model["parent"].partition("@")[0]})
    return recipe


def _refers(recipe: Recipe) -> bool:
    """Whether this is an encoder of a bundle that is yet to be looked up."""
    return recipe.family == "inference" and isinstance(recipe.model.get("parent"), str)


def _no_family(name: str) -> Problem:
    message = f"no family {name!r} comes with this program"
    if "." in name:
        message = f"family {name!r} is a module of your own, which only `python -m training train` can load"
    return Problem("family", f"{message}; there are {sorted(FAMILIES)}", plain(name), sorted(FAMILIES))


def _checked_part(model: type[Model], table: Mapping[str, Any], name: str) -> tuple[Model | None, list[Problem]]:
    part = table.get(name, {})
    if not isinstance(part, Mapping):
        return None, []  # said already, by the recipe's own schema
    found, problems = _checked(model, part)
    return found, [problem.below(name) for problem in problems]


def _checked(model: type[Model], table: Any) -> tuple[Model | None, list[Problem]]:
    try:
        return model.model_validate(table), []
    except ValidationError as error:
        details = error.errors()
        problems = [problem for detail in details for problem in _explained(model, detail)]
        unknown = {
            detail["loc"][0] for detail in details if detail["type"] == "extra_forbidden" and detail["loc"][:-1] == ()
        }
        if unknown:  # values are compared with each other only where there is no such key
            problems += _checked(model, {key: value for key, value in table.items() if key not in unknown})[1]
        return None, _once(problems)


def _once(problems: list[Problem]) -> list[Problem]:
    """Without what is said already: a second word on the same key, or on a list whose items are wrong."""
    first = {problem.field: problem for problem in reversed(problems)}
    return [p for p in problems if first[p.field] is p and not any(f.startswith(f"{p.field}.") for f in first)]


def _explained(model: type[BaseModel], detail: ErrorDetails) -> Iterator[Problem]:
    """Problems of one of pydantic's errors; the choices of a union, which it appends to the place, are left out."""
    path, place = find(model, detail["loc"])
    cause = detail.get("ctx", {}).get("error")
    if isinstance(cause, Contradictions):
        yield from (problem.below(_dotted(path)) for problem in cause.problems)
        return
    if detail["type"] == "extra_forbidden":
        message = f"unknown key; known keys are {keys(place)}"
        yield Problem(_dotted(map(plain, detail["loc"])), message, plain(detail["input"]), keys(place))
    elif detail["type"] == "missing":
        yield Problem(_dotted(path), f"missing; expected {', '.join(allowed(place))}", None, allowed(place))
    elif not path:
        yield Problem("", f"expected a table, not {plain(detail['input'])!r}", plain(detail["input"]), keys(place))
    else:
        got = plain(detail["input"])
        yield Problem(_dotted(path), f"{detail['msg']}, not {got!r}", got, allowed(place))


def _dotted(path: Any) -> str:
    return ".".join(map(str, path))
