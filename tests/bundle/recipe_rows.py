"""The tables of `docs/recipes.md`, row by row, as the schema of recipes has them."""

from typing import Any

from pydantic import BaseModel

from bundle.recipes import (
    DataRecipe,
    EvaluationSettings,
    ExportRecipe,
    GanRecipe,
    InferenceRecipe,
    Recipe,
    TrainRecipe,
    VaeRecipe,
)
from bundle.recipes.allowed import allowed, find

TABLES: dict[str, type[BaseModel]] = {
    "The recipe itself": Recipe,
    "`[data]`": DataRecipe,
    "`[train]`": TrainRecipe,
    "`[export]`": ExportRecipe,
    "`[evaluate]`": EvaluationSettings,
    "`[model]` of `vae`": VaeRecipe,
    "`[model]` of `gan`": GanRecipe,
    "`[model]` of `inference`": InferenceRecipe,
}
_SUBTABLES = {"data", "model", "train", "evaluate", "export"}
HEAD = ["| key | allowed | unit | default | meaning |", "| --- | --- | --- | --- | --- |"]


def rows(model: type[BaseModel]) -> list[str]:
    """A row for each key of a table, without keys that are tables of their own."""
    keys = [key for key in model.model_fields if not (model is Recipe and key in _SUBTABLES)]
    return [_row(model, key) for key in keys]


def _row(model: type[BaseModel], key: str) -> str:
    _, place = find(model, [key])
    members = allowed(place)
    values = ", ".join(f"`{value}`" for value in members) if "enum" in place else ", ".join(members)
    field = model.model_fields[key]
    default = "required" if field.is_required() else _toml(field.get_default(call_default_factory=True))
    return f"| `{key}` | {values} | {place.get('unit', '')} | {default} | {field.description} |".replace("|  |", "| |")


def _toml(value: Any) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case list() | tuple():
            return f"`{list(value)}`"
        case _:
            return f"`{value}`"
