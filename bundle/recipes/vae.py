"""`[model]` of the family `vae`."""

from collections.abc import Iterator
from typing import Literal, Self

from pydantic import Field, model_validator

from bundle.recipes.errors import Contradictions, Problem
from bundle.recipes.tables import Table, Width, unit


class VaeRecipe(Table):
    """`[model]` of an autoencoder."""

    network: Literal["conv", "mlp"] = Field(default="conv", description="strided convolutions, or fully connected")
    latent_dim: Width = Field(default=32, description="size of the code z", json_schema_extra=unit("numbers"))
    channels: int = Field(
        default=32,
        ge=1,
        le=4_096,
        description="`conv`: of the largest hidden map; each halving of the sides doubles them",
        json_schema_extra=unit("channels"),
    )
    hidden: list[Width] = Field(
        default=[256],
        min_length=1,
        max_length=32,
        description="widths of linear layers. `conv`: one, beside the code; `mlp`: from the image inwards",
        json_schema_extra=unit("units"),
    )
    batch_norm: bool = Field(
        default=False, description="`conv`: batch norm behind the convolutions; it is folded into them at export"
    )
    likelihood: Literal["bernoulli", "gaussian"] = Field(default="bernoulli", description="of a pixel given z")
    binarize: bool = Field(
        default=False,
        description="`bernoulli`: pixels are drawn as 0 or 1, anew in each batch, with their grey value as the "
        "probability",
    )
    sigma: float | None = Field(
        default=None,
        gt=0,
        le=100,
        description="`gaussian`: standard deviation of a pixel; left out, it is learned",
        json_schema_extra=unit("pixel in [-1, 1]"),
    )
    beta: float = Field(default=1.0, ge=0, description="weight of the rate: 1 is the ELBO, 0 an autoencoder")
    noise: bool = Field(
        default=True,
        description="whether z is drawn around the mean; `false` (with `beta = 0`) is the plain autoencoder",
    )
    prior: Literal["normal", "mixture", "none"] = Field(
        default="normal",
        description="`mixture`: a Gaussian mixture fitted to the codes after training; `none`: a model that cannot "
        "sample",
    )
    mixture_components: int = Field(
        default=16, ge=1, le=10_000, description="size of that mixture", json_schema_extra=unit("Gaussians")
    )
    conditional: bool = Field(default=False, description="both networks see the class; the data must have labels")
    lr: float = Field(
        default=1e-3, gt=0, le=10, description="learning rate of Adam", json_schema_extra=unit("per step")
    )

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if found := list(self._contradictions()):
            raise Contradictions(found)
        return self

    def _contradictions(self) -> Iterator[Problem]:
        if self.beta and not self.noise:
            message = "noise = false has no rate to weigh; set beta = 0 (a plain autoencoder)"
            yield Problem("beta", message, self.beta, ["0"])
        if self.prior == "normal" and self.beta == 0:
            message = "with beta = 0 nothing makes the codes normal; set prior = 'mixture' or 'none'"
            yield Problem("prior", message, self.prior, ["mixture", "none"])
        if self.binarize and self.likelihood != "bernoulli":
            message = "binarize = true needs likelihood = 'bernoulli'"
            yield Problem("likelihood", message, self.likelihood, ["bernoulli"])
        if self.network == "mlp" and self.batch_norm:
            yield Problem("batch_norm", "batch_norm = true is for network = 'conv'", True, ["false"])
        if self.network == "conv" and len(self.hidden) != 1:
            message = f"hidden is {self.hidden}; a convolutional model takes one width"
            yield Problem("hidden", message, str(self.hidden), ["one width"])
