"""The tables of a recipe, as `docs/families.md` must list them."""

from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from training.evaluation.settings import EvaluationSettings
from training.families.gan import GanRecipe
from training.families.inference import InferenceRecipe
from training.families.vae import VaeRecipe
from training.recipe import DataRecipe, ExportRecipe, Recipe, TrainRecipe

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


def rows(model: type[BaseModel]) -> dict[str, str]:
    """Key → its default as TOML (`required`, `none`), without keys that are tables of their own."""
    fields = model.model_fields
    return {key: _default(field) for key, field in fields.items() if not (model is Recipe and key in _SUBTABLES)}


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else toml(field.get_default(call_default_factory=True))


def toml(value: Any) -> str:
    """A default as a reader would write it."""
    match value:
        case None:
            return "none"
        case bool():
            return f"`{str(value).lower()}`"
        case list() | tuple():
            return f"`{list(value)}`"
        case str():
            return f"`{value}`"
        case _:
            return f"`{value}`"
