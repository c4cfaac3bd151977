"""The tables of a recipe that all families share: `[data]`, `[train]`, `[export]`, and the recipe around them."""
# ruff: noqa: RUF001 (formulas as the papers write them)

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator

from bundle.hashing import SHA256
from bundle.manifest import NAME
from bundle.recipes.errors import Contradictions, Problem
from bundle.recipes.metrics import Promotable

LARGEST_WIDTH = 65_536
Width = Annotated[int, Field(ge=1, le=LARGEST_WIDTH)]  # of a layer


def unit(name: str) -> dict[str, JsonValue]:
    """The unit of a key, as part of its JSON schema."""
    return {"unit": name}


class Table(BaseModel):
    """A table of a recipe: frozen, unknown keys refused, numbers finite."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataRecipe(Table):
    """`[data]`: which images."""

    name: Literal["mnist", "fashion-mnist", "npz", "folder", "upload"] = Field(description="where images come from")
    path: Path | None = Field(
        default=None,
        description="`npz`, `folder`: a relative one is looked for in the folder `GENSERVE_DATA`, in `data/`, and here",
    )
    upload: str | None = Field(
        default=None,
        pattern=SHA256,
        exclude_if=lambda value: value is None,  # recipes from before uploads keep their bytes
        description="`upload`: id of the uploaded set",
    )
    size: int = Field(
        default=64,
        ge=8,
        le=512,
        description="`folder`: side; images are cropped to the middle square and resized",
        json_schema_extra=unit("pixels"),
    )
    channels: Literal[1, 3] = Field(default=3, description="`folder`: grey or colour")
    labels: str | None = Field(
        default=None,
        description="`npz` with `images`: attribute of the JSON records beside it that gives the class, or several "
        "joined by `+`",
    )
    split_by: str | None = Field(
        default=None,
        description="`npz` with `images`: attribute that decides the split, so that variants of one thing stay "
        "together; left out: the pixels",
    )
    test_share: float = Field(
        default=0.1,
        gt=0,
        lt=1,
        description="test images where the data has no split of its own; decided by hash, so that a set may grow",
        json_schema_extra=unit("share"),
    )
    licence: str = Field(
        default="unknown", description="of the data, for the manifest (`mnist` and `fashion-mnist` bring their own)"
    )
    attribution: str = Field(default="unknown", description="of the data, for the manifest")


class TrainRecipe(Table):
    """`[train]`: how long and how."""

    batch_size: int = Field(
        default=128,
        ge=1,
        le=65_536,
        description="size of a batch; a family may take several batches in a round",
        json_schema_extra=unit("images"),
    )
    epochs: float | None = Field(
        default=None,
        gt=0,
        le=1_000_000,
        description="length of the run: rounds × `batch_size` / training images. A round is one turn of every player",
        json_schema_extra=unit("passes over the training images"),
    )
    rounds: int | None = Field(
        default=None,
        ge=1,
        le=1_000_000_000,
        description="length of the run, for data of any size; one of the two must be given",
        json_schema_extra=unit("rounds"),
    )
    ema: float = Field(
        default=0.999,
        ge=0,
        lt=1,
        description="decay of the averaged weights, which are what is exported; 0 exports the last ones",
        json_schema_extra=unit("per round"),
    )
    precision: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of the arithmetic in training; weights are float32 either way"
    )
    lr_schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="learning rates over the run; the latter two end at zero"
    )
    threads: int = Field(
        default=1,
        ge=1,
        le=1024,
        description="of the CPU; results are the same to the bit for the same number",
        json_schema_extra=unit("threads"),
    )
    checkpoint_minutes: float = Field(
        default=2.0, gt=0, le=100_000, description="time between checkpoints", json_schema_extra=unit("minutes")
    )
    picture_epochs: float = Field(
        default=1.0,
        gt=0,
        le=1_000_000,
        description="between pictures from fixed latents",
        json_schema_extra=unit("epochs"),
    )

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.rounds is None):
            message = f"epochs is {self.epochs}, rounds is {self.rounds}; set one of the two"
            raise Contradictions([Problem("epochs", message, self.epochs, ["epochs alone", "rounds alone"])])
        return self

    def total_rounds(self, images: int) -> int:
        """Rounds of the whole run on a set of so many images."""
        if self.rounds is not None:
            return self.rounds
        assert self.epochs is not None
        return max(1, math.ceil(self.epochs * images / self.batch_size))


class ExportRecipe(Table):
    """`[export]`: how weights are stored in the bundle."""

    storage: Literal["float32", "float16"] = Field(
        default="float32",
        description="weights in the bundle; `float16` rounds them, halves the files, and still computes in float32",
    )


class Recipe(Table):
    """A whole recipe; `model` is checked by the schema of its family, `evaluate` by `EvaluationSettings`."""

    name: str = Field(pattern=NAME, description="name of the bundle: lower case letters, digits, `.`, `_`, `-`")
    family: str = Field(description="`vae`, `gan`, `inference`, or the dotted path of a module of your own")
    seed: int = Field(
        default=0, ge=0, lt=2**31, description="of weights, order of images, noise: one seed for everything"
    )
    data: DataRecipe
    model: dict[str, Any] = Field(default_factory=dict)
    train: TrainRecipe
    evaluate: dict[str, Any] = Field(default_factory=dict)
    export: ExportRecipe = ExportRecipe()
    promote_on: Promotable | None = Field(
        default=None,
        exclude_if=lambda value: value is None,  # recipes from before promotion keep their bytes
        description="figure by which a new version must be no worse to be promoted; left out: its family's headline",
    )


def resolved(recipe: Recipe) -> dict[str, Any]:
    """The recipe with all defaults written out, as plain JSON values."""
    return dict(json.loads(recipe.model_dump_json()))
