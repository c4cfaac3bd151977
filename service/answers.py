"""The JSON answers as schemas: for the OpenAPI document and the tests that hold answers against it.

Answers are written by orjson from arrays and never pass through these classes.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class ModelIdentity(_Answer):
    """Which weights drew the images."""

    name: str
    version: int
    digest: str = Field(description="sha256 of the manifest, which holds those of all files")
    runtime: str = Field(description="what ran it, as in the setting")
    provider: str = Field(description="what it really ran on, as the runtime says, such as CPUExecutionProvider")


class ImageMetrics(_Answer):
    """How alike drawing and upload are."""

    psnr: float = Field(description="dB; for equal images that of an error of one level in one value")
    ssim: float = Field(description="1 for equal images")


class DrawnImage(_Answer):
    """One image."""

    index: int = Field(description="index of the image within its seed: start, start + 1, …")
    png: str = Field(description="PNG file in base64")
    latent: list[float] | None = None
    metrics: ImageMetrics | None = None


class ImagesAnswer(_Answer):
    """Drawn images."""

    model: ModelIdentity
    seed: int | None = Field(description="null where no seed had a part in the images")
    images: list[DrawnImage]


class EncodedImage(_Answer):
    """One code."""

    index: int
    latent: list[float] = Field(description="mean of the encoder's distribution")
    logvar: list[float] | None = Field(None, description="its log-variance, where the encoder is stochastic")


class LatentsAnswer(_Answer):
    """Codes of images."""

    model: ModelIdentity
    seed: int | None
    images: list[EncodedImage]


class ModelSummary(_Answer):
    """A model that serves."""

    name: str
    version: int
    digest: str
    aliases: list[str]
    family: str
    graphs: list[str] = Field(description="what it can do; endpoints go by this, not by the family")
    image: dict[str, int] = Field(description="channels, height, width")
    prior: dict[str, Any] | None = Field(description="null: an autoencoder, which cannot sample")
    latent_dim: int | str | None
    labels: list[str] | None
    domains: list[str] | None
    created: str
    runtime: str
    provider: str


class ModelDetails(ModelSummary):
    """A model and how it came to be."""

    training: dict[str, Any]
    metrics: list[dict[str, Any]]
    data: dict[str, Any]
    parent: dict[str, Any] | None
    vocabulary: list[str] | None
    interface: dict[str, Any] = Field(description="graph → inputs, outputs, tolerance, latency")


class ModelsAnswer(_Answer):
    """All models."""

    models: list[ModelSummary]
    default: str | None = Field(description="model of requests that name none")
    problems: dict[str, str] = Field(description="bundles that were refused, and why")


class LiveAnswer(_Answer):
    """The process answers."""

    status: Literal["live"]


class ReadyAnswer(_Answer):
    """Requests can be served."""

    status: Literal["ready"]
    models: int
    problems: dict[str, str]


class Problem(BaseModel):
    """What went wrong: RFC 9457, application/problem+json. Some codes have further members, such as `models`."""

    model_config = ConfigDict(extra="allow", strict=True)

    type: str = Field(description="urn:genserve:problem:<code>")
    title: str
    status: int
    detail: str = Field(description="what came, what was expected, what to do next")
    code: str = Field(description="stable; for programs")
    request_id: str = Field(description="as in X-Request-Id and in the log")
    errors: list[dict[str, Any]] | None = Field(None, description="all fields that are wrong, of invalid_request")
