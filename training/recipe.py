"""Recipes: what to train, on what, how long. TOML, checked once, unknown keys refused. Imports no torch."""

import json
import math
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bundle.manifest import NAME
from training.errors import RecipeError

Model = TypeVar("Model", bound=BaseModel)
Width = Annotated[int, Field(ge=1)]  # of a layer


class Table(BaseModel):
    """A table of a recipe: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DataRecipe(Table):
    """`[data]`: which images."""

    name: Literal["mnist", "fashion-mnist", "npz", "folder"]
    path: Path | None = None  # npz, folder; a relative one is looked for in GENSERVE_DATA, data/ and here
    size: int = Field(64, ge=8, le=512)  # folder: side in pixels
    channels: Literal[1, 3] = 3  # folder
    labels: str | None = None  # npz with records: attribute, or several joined by "+", that give the class
    split_by: str | None = None  # npz with records: attribute that keeps variants on one side of the split
    test_share: float = Field(0.1, gt=0, lt=1)
    licence: str = "unknown"
    attribution: str = "unknown"


class TrainRecipe(Table):
    """`[train]`: how long and how."""

    batch_size: int = Field(128, ge=1)
    epochs: float | None = Field(None, gt=0)  # length of the run in passes over the training images, or
    rounds: int | None = Field(None, ge=1)  # in rounds of batch_size images; one of the two
    ema: float = Field(0.999, ge=0, lt=1)  # decay per round of the averaged weights that are exported; 0 = off
    precision: Literal["float32", "bfloat16"] = "float32"
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"  # to zero at the end
    threads: int = Field(1, ge=1)
    checkpoint_minutes: float = Field(2.0, gt=0)
    picture_epochs: float = Field(1.0, gt=0)  # a picture from fixed latents this often

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.rounds is None):
            raise ValueError(f"epochs is {self.epochs}, rounds is {self.rounds}; set one of the two")
        return self

    def total_rounds(self, images: int) -> int:
        """Rounds of the whole run on a set of so many images."""
        if self.rounds is not None:
            return self.rounds
        assert self.epochs is not None
        return max(1, math.ceil(self.epochs * images / self.batch_size))


class ExportRecipe(Table):
    """`[export]`: how weights are stored in the bundle."""

    storage: Literal["float32", "float16"] = "float32"  # graphs compute in float32 either way


class Recipe(Table):
    """A whole recipe; `model` is checked by the family."""

    name: str = Field(pattern=NAME)
    family: str
    seed: int = Field(0, ge=0, lt=2**31)
    data: DataRecipe
    model: dict[str, Any] = Field(default_factory=dict)
    train: TrainRecipe
    evaluate: dict[str, Any] = Field(default_factory=dict)
    export: ExportRecipe = ExportRecipe()


def read_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file.

    Args:
        path: A TOML file.
        overrides: `table.key=value` each, value in TOML (a bare word is taken as a string).

    Raises:
        RecipeError: If the file is no TOML, or has unknown keys or impossible values.
    """
    try:
        table = tomllib.loads(path.read_text())
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error
    for override in overrides or []:
        _override(table, override)
    return check_table(Recipe, table, str(path))


def check_table(model: type[Model], table: dict[str, Any], where: str) -> Model:
    """A table as its model.

    Raises:
        RecipeError: Which key, what came, what is allowed.
    """
    try:
        return model.model_validate(table)
    except ValidationError as error:
        raise RecipeError("; ".join(_explain(model, problem, where) for problem in error.errors())) from error


def resolved(recipe: Recipe) -> dict[str, Any]:
    """The recipe with all defaults written out, as plain JSON values."""
    return dict(json.loads(recipe.model_dump_json()))


def _explain(model: type[BaseModel], problem: Any, where: str) -> str:
    path = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "missing":
        return f"{where}: key {path!r} is missing"
    if problem["type"] != "extra_forbidden":
        return f"{where}: {path}: {problem['msg']}, not {problem['input']!r}"
    table: Any = model
    for part in problem["loc"][:-1]:
        table = getattr(table, "model_fields", {})[part].annotation
    return f"{where}: unknown key {path!r}; known keys are {sorted(table.model_fields)}"


def parse_overrides(overrides: list[str]) -> dict[str, Any]:
    """`table.key=value` items as nested tables; values are TOML, a bare word is taken as a string.

    Raises:
        RecipeError: If an item has no "=".
    """
    table: dict[str, Any] = {}
    for override in overrides:
        _override(table, override)
    return table


def _override(table: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"--set {override!r}: expected table.key=value")
    *parents, last = key.strip().split(".")
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise RecipeError(f"--set {override!r}: {parent!r} is a value, not a table")
    try:
        table[last] = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = text
