"""`[model]` of the family `inference`."""
# ruff: noqa: RUF001 (formulas as the papers write them)

import re
from typing import Any, Literal

from pydantic import Field, field_validator

from bundle.recipes.errors import Contradictions, Problem, plain
from bundle.recipes.tables import Table, unit

REFERENCE = r"[a-z0-9][a-z0-9._-]{0,63}(@[a-z0-9][a-z0-9._-]{0,63})?"


class InferenceRecipe(Table):
    """`[model]` of an encoder for a frozen generator; `python -m training infer` and the worker fill in the parent."""

    parent: dict[str, Any] | str = Field(
        description="the generator: its bundle as `NAME`, `NAME@VERSION` or `NAME@ALIAS`; `infer` puts its recipe here"
    )
    parent_digest: str | None = Field(
        default=None,
        description="digest of the generator's bundle; `infer` fills it in, and a checkpoint is bound to it",
    )
    parent_labels: list[str] | None = Field(
        default=None, description="classes of the generator; `infer` fills it in (a generator with classes is refused)"
    )
    objective: Literal["z", "cycle"] = Field(
        default="cycle",
        description="`z`: regression of z alone, as in the GAN paper; `cycle`: plus image consistency, plus a cycle on "
        "real images",
    )
    channels: int = Field(
        default=32,
        ge=1,
        le=4_096,
        description="of the encoder's largest hidden map",
        json_schema_extra=unit("channels"),
    )
    image_weight: float = Field(default=10.0, ge=0, description="`cycle`: of ‖G(E(G(z))) − G(z)‖², mean over pixels")
    cycle_weight: float = Field(
        default=20.0, ge=0, description="`cycle`: of ‖G(E(x)) − x‖², mean over pixels of real images"
    )
    lr: float = Field(
        default=1e-3, gt=0, le=10, description="learning rate of Adam", json_schema_extra=unit("per step")
    )

    @field_validator("parent", mode="before")
    @classmethod
    def _names_a_bundle(cls, parent: object) -> object:
        if isinstance(parent, dict) or (isinstance(parent, str) and re.fullmatch(REFERENCE, parent)):
            return parent
        raise Contradictions([no_parent(parent)])


def no_parent(got: object) -> Problem:
    """What is wrong with a parent that names no bundle; the field is left to the caller."""
    message = f"name the published bundle whose generator gets an encoder, not {plain(got)!r}"
    own = got.get("name") if isinstance(got, dict) else None
    return Problem("", message, plain(got), [own] if isinstance(own, str) else ["NAME", "NAME@VERSION", "NAME@ALIAS"])
