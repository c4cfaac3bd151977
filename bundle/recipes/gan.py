"""`[model]` of the family `gan`."""
# ruff: noqa: RUF001 (formulas as the papers write them)

from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from bundle.recipes.errors import Contradictions, Problem
from bundle.recipes.tables import Table, Width, unit

Beta = Annotated[float, Field(ge=0, lt=1)]
Channels = Annotated[int, Field(ge=1, le=4_096)]


class GanRecipe(Table):
    """`[model]` of a GAN."""

    network: Literal["conv", "mlp"] = Field(
        default="conv", description="DCGAN, or the GAN paper's fully connected networks with maxout"
    )
    latent_dim: Width = Field(default=64, description="size of the code z", json_schema_extra=unit("numbers"))
    prior: Literal["normal", "uniform"] = Field(
        default="normal", description="of z; uniform on [-1, 1] is the GAN paper's"
    )
    channels: Channels = Field(
        default=64,
        description="`conv`: of the generator's largest hidden map; each halving doubles them",
        json_schema_extra=unit("channels"),
    )
    d_channels: Channels = Field(
        default=64, description="`conv`: the same for the discriminator", json_schema_extra=unit("channels")
    )
    hidden: tuple[Width, ...] = Field(
        default=(1200, 1200),
        min_length=1,
        max_length=32,
        description="`mlp`: widths of the generator",
        json_schema_extra=unit("units"),
    )
    d_hidden: tuple[Width, ...] = Field(
        default=(240, 240),
        min_length=1,
        max_length=32,
        description="`mlp`: widths of the discriminator",
        json_schema_extra=unit("units"),
    )
    maxout_pieces: int = Field(
        default=5,
        ge=1,
        le=100,
        description="`mlp`: linear maps of which a unit of the discriminator takes the largest",
        json_schema_extra=unit("maps"),
    )
    dropout: float = Field(
        default=0.5, ge=0, lt=1, description="`mlp`: in the discriminator", json_schema_extra=unit("share")
    )
    loss: Literal["minimax", "non-saturating", "least-squares", "wasserstein", "hinge"] = Field(
        default="non-saturating",
        description='of both players; `wasserstein` needs `clip`, `gradient_penalty` or `d_norm = "spectral"`',
    )
    d_steps: int = Field(
        default=1,
        ge=1,
        le=1_000,
        description="discriminator steps in a round: k of the GAN paper",
        json_schema_extra=unit("steps"),
    )
    d_norm: Literal["none", "batch", "spectral"] = Field(
        default="none", description="`conv`: normalisation of the discriminator; `batch` excludes penalties"
    )
    r1: float = Field(default=0.0, ge=0, description="weight γ of the R1 penalty, γ/2 ‖∇D(x)‖²; 0 is off")
    r1_every: int = Field(
        default=16,
        ge=1,
        le=1_000_000,
        description="between R1 steps; the weight is multiplied by it",
        json_schema_extra=unit("rounds"),
    )
    clip: float = Field(
        default=0.0, ge=0, description="the discriminator's weights are kept in [-clip, clip]; 0 is off"
    )
    gradient_penalty: float = Field(
        default=0.0, ge=0, description="weight of (‖∇D‖ − 1)² between real and fake; 0 is off"
    )
    augment: float = Field(
        default=0.0,
        ge=0,
        lt=0.5,
        description="largest shift of all images that the discriminator sees",
        json_schema_extra=unit("share of the sides"),
    )
    conditional: bool = Field(
        default=False,
        description="on the classes: an embedding beside z, a projection in the discriminator; the data must have "
        "labels",
    )
    g_lr: float = Field(
        default=2e-4,
        gt=0,
        le=10,
        description="learning rate of the generator's Adam",
        json_schema_extra=unit("per step"),
    )
    d_lr: float = Field(
        default=2e-4,
        gt=0,
        le=10,
        description="learning rate of the discriminator's Adam",
        json_schema_extra=unit("per step"),
    )
    betas: tuple[Beta, Beta] = Field(default=(0.5, 0.999), description="of both Adams")

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if found := list(self._contradictions()):
            raise Contradictions(found)
        return self

    def _contradictions(self) -> Iterator[Problem]:
        if self.network == "mlp" and self.d_norm != "none":
            message = f"d_norm={self.d_norm!r} is for network='conv'; an mlp takes 'none'"
            yield Problem("d_norm", message, self.d_norm, ["none"])
        if self.loss == "wasserstein" and not (self.clip or self.gradient_penalty or self.d_norm == "spectral"):
            message = "a wasserstein critic must be bounded: set clip, gradient_penalty or d_norm='spectral'"
            yield Problem("loss", message, self.loss, ["minimax", "non-saturating", "least-squares", "hinge"])
        if self.d_norm == "batch" and (self.gradient_penalty or self.r1):
            message = "d_norm='batch' mixes images, so that no penalty per image exists; use 'none'"
            yield Problem("d_norm", message, self.d_norm, ["none", "spectral"])
