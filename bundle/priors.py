"""Priors over latent codes: their parameters as data, and the map from uniform numbers to codes.

Each prior says how many uniform numbers an image takes (`draws`), a constant, so that image i of a seed can be drawn
without drawing those before it.
"""

import math
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from bundle.errors import PriorError

Uniforms = NDArray[np.float64]
Codes = NDArray[np.float32]

_MINUS_TWO = np.array(-2.0)  # numpy takes longer to make arrays of Python's numbers than to multiply a few
_TURN = np.array(2 * np.pi)


class _Prior(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Normal(_Prior):
    """Standard normal in `dim` dimensions."""

    kind: Literal["normal"] = "normal"
    dim: int = Field(ge=1)

    @property
    def draws(self) -> int:
        return 2 * math.ceil(self.dim / 2)

    def transform(self, u: Uniforms) -> Codes:
        """Codes (n, dim) from uniform numbers (n, draws)."""
        return _box_muller(u)[:, : self.dim].astype(np.float32)

    def truncate(self, z: Codes, truncation: float) -> Codes:
        """Codes pulled towards the mean by a factor; 1 leaves them as they are."""
        return np.asarray(z * np.float32(truncation), dtype=np.float32)


class Uniform(_Prior):
    """Uniform on a cube."""

    kind: Literal["uniform"] = "uniform"
    dim: int = Field(ge=1)
    low: float = -1.0
    high: float = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high:
            raise PriorError(f"uniform prior from {self.low} to {self.high}; expected low < high")
        return self

    @property
    def draws(self) -> int:
        return self.dim

    def transform(self, u: Uniforms) -> Codes:
        """Codes (n, dim) from uniform numbers (n, draws)."""
        return np.asarray(self.low + (self.high - self.low) * u, dtype=np.float32)

    def truncate(self, z: Codes, truncation: float) -> Codes:
        """Codes pulled towards the middle of the cube by a factor; 1 leaves them as they are."""
        middle = np.float32((self.low + self.high) / 2)
        return np.asarray(middle + (z - middle) * np.float32(truncation), dtype=np.float32)


class Sphere(_Prior):
    """Uniform on the unit sphere in `dim` dimensions."""

    kind: Literal["sphere"] = "sphere"
    dim: int = Field(ge=2)

    @property
    def draws(self) -> int:
        return 2 * math.ceil(self.dim / 2)

    def transform(self, u: Uniforms) -> Codes:
        """Codes (n, dim) from uniform numbers (n, draws)."""
        normal = _box_muller(u)[:, : self.dim]
        return np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True), dtype=np.float32)

    def truncate(self, z: Codes, truncation: float) -> Codes:
        """Refused unless 1: every code has norm 1."""
        return _untruncated("sphere", z, truncation)


class Mixture(_Prior):
    """Gaussian mixture of components k: `weights[k]`, mean `means[k]`, covariance L Lᵀ with L = `scale_tril[k]`."""

    kind: Literal["mixture"] = "mixture"
    weights: list[float] = Field(min_length=1)
    means: list[list[float]]
    scale_tril: list[list[list[float]]]

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        k, means, scale = len(self.weights), np.asarray(self.means), np.asarray(self.scale_tril)
        if means.ndim != 2 or means.shape[0] != k or scale.shape != (k, means.shape[1], means.shape[1]):
            raise PriorError(
                f"mixture of {k} weights has means {means.shape} and scale_tril {scale.shape}; "
                f"expected ({k}, dim) and ({k}, dim, dim)"
            )
        if min(self.weights) < 0 or not math.isclose(sum(self.weights), 1.0, abs_tol=1e-4):
            raise PriorError(f"mixture weights sum to {sum(self.weights)}; expected weights >= 0 that sum to 1")
        return self

    @property
    def dim(self) -> int:
        return len(self.means[0])

    @property
    def draws(self) -> int:
        return 1 + 2 * math.ceil(self.dim / 2)

    def transform(self, u: Uniforms) -> Codes:
        """Codes (n, dim) from uniform numbers (n, draws)."""
        component = _categories(u[:, 0], self.weights)
        normal = _box_muller(u[:, 1:])[:, : self.dim]
        scale, mean = np.asarray(self.scale_tril)[component], np.asarray(self.means)[component]
        return np.asarray(mean + (scale * normal[:, None, :]).sum(-1), dtype=np.float32)

    def truncate(self, z: Codes, truncation: float) -> Codes:
        """Codes pulled towards the mixture's mean by a factor; 1 leaves them as they are."""
        mean = np.average(self.means, axis=0, weights=self.weights).astype(np.float32)
        return np.asarray(mean + (z - mean) * np.float32(truncation), dtype=np.float32)


class SwissRoll(_Prior):
    """Two-dimensional swiss roll, as in "Adversarial Autoencoders" (Makhzani et al., 2015, arXiv:1511.05644).

    t = turns·2π·sqrt(u), code = scale·t/(turns·2π)·(cos t, sin t) + noise·N(0, I).
    """

    kind: Literal["swiss_roll"] = "swiss_roll"
    scale: float = Field(default=3.0, gt=0)
    turns: float = Field(default=2.0, gt=0)
    noise: float = Field(default=0.0, ge=0)

    @property
    def dim(self) -> int:
        return 2

    @property
    def draws(self) -> int:
        return 3

    def transform(self, u: Uniforms) -> Codes:
        """Codes (n, 2) from uniform numbers (n, 3)."""
        radius = np.sqrt(u[:, :1])  # the square root spreads the points evenly along the roll
        angle = self.turns * 2 * np.pi * radius
        roll = self.scale * radius * np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
        return np.asarray(roll + self.noise * _box_muller(u[:, 1:]), dtype=np.float32)

    def truncate(self, z: Codes, truncation: float) -> Codes:
        """Refused unless 1: the roll has no middle to pull towards."""
        return _untruncated("swiss_roll", z, truncation)


class Categorical(_Prior):
    """One-hot codes over `dim` categories; uniform unless `probabilities` are given."""

    kind: Literal["categorical"] = "categorical"
    dim: int = Field(ge=2)
    probabilities: list[float] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        p = self.probabilities
        if p is not None and (len(p) != self.dim or min(p) < 0 or not math.isclose(sum(p), 1.0, abs_tol=1e-4)):
            raise PriorError(f"{len(p)} probabilities with sum {sum(p)}; expected {self.dim} that sum to 1")
        return self

    @property
    def draws(self) -> int:
        return 1

    def transform(self, u: Uniforms) -> Codes:
        """One-hot codes (n, dim) from uniform numbers (n, 1)."""
        weights = self.probabilities or [1 / self.dim] * self.dim
        return np.eye(self.dim, dtype=np.float32)[_categories(u[:, 0], weights)]

    def truncate(self, z: Codes, truncation: float) -> Codes:
        """Refused unless 1: there is nothing between categories."""
        return _untruncated("categorical", z, truncation)


class Product(_Prior):
    """Independent parts, one after the other along the code."""

    kind: Literal["product"] = "product"
    parts: list["Prior"] = Field(min_length=1)

    @property
    def dim(self) -> int:
        return sum(part.dim for part in self.parts)

    @property
    def draws(self) -> int:
        return sum(part.draws for part in self.parts)

    def transform(self, u: Uniforms) -> Codes:
        """Codes (n, dim) from uniform numbers (n, draws)."""
        splits = np.cumsum([part.draws for part in self.parts])[:-1]
        columns = np.split(u, splits, axis=1)
        return np.concatenate([p.transform(c) for p, c in zip(self.parts, columns, strict=True)], axis=1)

    def truncate(self, z: Codes, truncation: float) -> Codes:
        """Each part by its own rule."""
        splits = np.cumsum([part.dim for part in self.parts])[:-1]
        columns = np.split(z, splits, axis=1)
        return np.concatenate([p.truncate(c, truncation) for p, c in zip(self.parts, columns, strict=True)], axis=1)


Prior = Annotated[Normal | Uniform | Sphere | Mixture | SwissRoll | Categorical | Product, Field(discriminator="kind")]
Product.model_rebuild()


def _box_muller(u: Uniforms) -> Uniforms:
    """Standard normal numbers from an even number of uniform columns; no rejection, so the count is fixed.

    Box and Muller, "A note on the generation of random normal deviates", 1958.
    """
    half = u.shape[1] // 2
    radius = np.negative(u[:, :half])
    np.log1p(radius, out=radius)  # 1 - u is in (0, 1]: the logarithm is finite
    np.multiply(radius, _MINUS_TWO, out=radius)
    np.sqrt(radius, out=radius)
    angle = np.multiply(u[:, half:], _TURN)
    normal = np.empty(u.shape)
    np.multiply(radius, np.cos(angle), out=normal[:, :half])
    np.multiply(radius, np.sin(angle), out=normal[:, half:])
    return normal


def _categories(u: Uniforms, weights: list[float]) -> NDArray[np.int64]:
    edges = np.cumsum(weights)
    found = np.searchsorted(edges, u * edges[-1], side="right")
    return np.asarray(np.minimum(found, len(weights) - 1), dtype=np.int64)


def _untruncated(kind: str, z: Codes, truncation: float) -> Codes:
    if truncation != 1:
        raise PriorError(f"truncation is {truncation}, but a {kind} prior cannot be truncated; leave it at 1")
    return z
