"""From the body of POST /training/jobs to an order that can be carried out, or to all that is wrong with it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from bundle.errors import BundleError
from bundle.recipes import (
    KnownData,
    Problem,
    Recipe,
    RecipeError,
    apply_overrides,
    check_recipe,
    read_named,
    resolved,
)
from bundle.store import Store
from bundle.uploads.errors import UploadError
from bundle.uploads.store import UploadStore
from jobs.model import NewJob
from service.errors import InvalidRequestError
from service.settings import Settings
from service.training.bodies import JobRequest
from service.training.refusals import refusal, schema_refusal

_UPLOAD = "upload:"
_BUILT_IN = ["mnist", "fashion-mnist"]
_MOST_BYTES = 1 << 16  # of a recipe as JSON: no honest one comes near
_DEEPEST = 16
_MOST_SHOWN = 20


def order(body: JobRequest, key: str | None, settings: Settings) -> NewJob:
    """The order that a request stands for; reads recipes, uploads and the store, so it is for a thread.

    Args:
        body: The request.
        key: Its idempotency key.
        settings: Of the service.

    Raises:
        InvalidRequestError: For every field that cannot be, with what is allowed there.
    """
    request_hash = hash_of(body)
    table = _table(body, settings)
    known, problems = _known_data(table, settings)
    try:
        recipe = check_recipe(table, known=known)
    except RecipeError as error:
        raise _refused(error, problems, body) from error
    if recipe.family == "inference":
        problems += _unfit_parent(recipe, body, Store(settings.store))
    if problems:
        raise refusal([_placed(problem, body) for problem in problems])
    try:
        made = NewJob(
            recipe=resolved(recipe),
            priority=body.priority,
            promotion=body.promotion,
            device=body.device,
            idempotency_key=key,
            request_hash=request_hash,
        )
    except ValidationError as error:
        raise schema_refusal(error, NewJob) from error
    if len(made.model_dump_json()) > _MOST_BYTES:
        raise InvalidRequestError(f"recipe: it has more than {_MOST_BYTES} bytes as JSON; shorten it")
    return made


def hash_of(body: JobRequest) -> str:
    """Of the request as it came, whatever it names has become: the order of keys and defaults do not count.

    Raises:
        InvalidRequestError: If its tables are deeper than those of any recipe.
    """
    _check_depth(body)
    return hashlib.sha256(json.dumps(body.model_dump(), sort_keys=True).encode()).hexdigest()


def check_data(recipe: Mapping[str, Any], settings: Settings) -> None:
    """See that the upload of a recipe that was taken before is still there.

    Raises:
        InvalidRequestError: If it is not.
    """
    _, problems = _known_data(recipe, settings)
    if problems:
        raise refusal(problems)


def _table(body: JobRequest, settings: Settings) -> dict[str, Any]:
    try:
        table = dict(body.recipe) if isinstance(body.recipe, dict) else read_named(settings.recipes, body.recipe)
    except RecipeError as error:
        raise refusal(error.problems or [Problem("recipe", str(error), body.recipe)]) from error
    if body.name is not None:
        table["name"] = body.name
    if body.data is not None:
        table["data"] = body.data if isinstance(body.data, dict) else _data(body.data)
    try:
        return apply_overrides(table, body.overrides)
    except RecipeError as error:
        problems = [problem.below("overrides") for problem in error.problems]
        raise refusal(problems) from error


def _data(name: str) -> dict[str, Any]:
    return {"name": "upload", "upload": name.removeprefix(_UPLOAD)} if name.startswith(_UPLOAD) else {"name": name}


def _known_data(table: Mapping[str, Any], settings: Settings) -> tuple[KnownData | None, list[Problem]]:
    """What the upload that the recipe names holds, if it names one; asking for it keeps it from being evicted."""
    data = table.get("data")
    wanted = data.get("upload") if isinstance(data, Mapping) and data.get("name") == "upload" else None
    if not isinstance(wanted, str):
        return None, []
    uploads = UploadStore(settings.uploads)
    try:
        found = uploads.get(wanted)
    except UploadError as error:
        known = [f"{_UPLOAD}{upload.id}" for upload in uploads.list()[:_MOST_SHOWN]]
        return None, [Problem("data.upload", str(error), wanted[:100], known)]
    return KnownData((found.channels, found.height, found.width), found.labels is not None), []


def _unfit_parent(recipe: Recipe, body: JobRequest, store: Store) -> list[Problem]:
    problems = []
    if body.name is not None and body.name != recipe.name:
        message = "an encoder is published under the name of its parent; leave the name out"
        problems.append(Problem("name", message, body.name, [recipe.name]))
    if body.data is not None:
        message = "an encoder is trained on the data of its parent; leave the data out"
        problems.append(Problem("data", message, str(body.data)[:100]))
    parent = recipe.model["parent"]
    if isinstance(parent, str) and (reason := _why_no_parent(store, parent)):
        fit = [name for name in store.names() if not _why_no_parent(store, name)]
        problems.append(Problem("model.parent", reason, parent, fit))
    return problems


def _why_no_parent(store: Store, ref: str) -> str | None:
    try:
        manifest = store.open(ref).manifest
    except BundleError as error:
        return str(error)
    if "decode" not in manifest.graphs or manifest.prior is None:
        return f"{ref!r} cannot draw images from codes; only a generator gets an encoder"
    return f"{ref!r} is class-conditional; an encoder needs a generator without classes" if manifest.labels else None


def _refused(error: RecipeError, problems: list[Problem], body: JobRequest) -> InvalidRequestError:
    said = {problem.field for problem in problems}
    found = [*problems, *(problem for problem in error.problems if problem.field not in said)]
    return refusal([_placed(problem, body) for problem in found])


def _placed(problem: Problem, body: JobRequest) -> Problem:
    """The problem with its field as the request has it: from an override, from `name` or `data`, or from the recipe."""
    field = problem.field
    if field in ("name", "data") and getattr(body, field) is not None:
        return problem
    if any(_overlap(field, key) for key in body.overrides):
        return problem.below("overrides")
    if field == "name" and body.name is not None:
        return problem
    if field.partition(".")[0] == "data" and body.data is not None:
        if isinstance(body.data, dict):
            return problem
        return _unknown_data(body.data) if field == "data.name" else replace(problem, field="data")
    return problem.below("recipe")


def _unknown_data(name: str) -> Problem:
    choices = [*_BUILT_IN, f"{_UPLOAD}ID"]
    message = (
        f"no data set {name[:80]!r}; there are {', '.join(choices)} (GET /training/data lists them), or send a table"
    )
    return Problem("data", message, name[:80], choices)


def _overlap(field: str, key: str) -> bool:
    return f"{field}.".startswith(f"{key}.") or f"{key}.".startswith(f"{field}.")


def _check_depth(body: JobRequest) -> None:
    for field in ("recipe", "overrides", "data"):
        level: list[Any] = [getattr(body, field)]
        for _ in range(_DEEPEST):
            level = [value for one in level for value in _below(one)]
        if level:
            raise InvalidRequestError(f"{field}: tables in it are more than {_DEEPEST} deep; no recipe is")
    if long := [key for key in body.overrides if key.count(".") >= _DEEPEST]:
        raise InvalidRequestError(f"overrides: {long[0][:60]!r} is more than {_DEEPEST} deep; no recipe is")


def _below(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []
