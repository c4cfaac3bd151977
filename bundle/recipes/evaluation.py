"""`[evaluate]`: how much is measured."""

from pydantic import Field

from bundle.recipes.tables import Table, unit

_MOST = 10_000_000


class EvaluationSettings(Table):
    """How many images each figure is measured on; every number is capped by what the data set has."""

    seed: int = Field(default=0, ge=0, lt=2**31, description="of samples, noise, splits and draws")
    samples: int = Field(
        default=10_000,
        ge=100,
        le=_MOST,
        description="samples for the feature figures and the Parzen window",
        json_schema_extra=unit("images"),
    )
    parzen: bool = Field(
        default=False, description="estimate the Parzen-window log-likelihood, beside that of k-means centres"
    )
    parzen_iterations: int = Field(
        default=5, ge=0, le=1_000, description="Lloyd iterations of these centres", json_schema_extra=unit("iterations")
    )
    likelihood_images: int = Field(
        default=10_000,
        ge=2,
        le=_MOST,
        description="test images whose likelihood is bounded",
        json_schema_extra=unit("images"),
    )
    iwae_samples: int = Field(
        default=50,
        ge=1,
        le=100_000,
        description="K of the importance-weighted bound",
        json_schema_extra=unit("samples per image"),
    )
    binarize: bool = Field(default=False, description="binarise test images before scoring them")
    reconstruction_images: int = Field(
        default=10_000, ge=2, le=_MOST, description="test images to encode and decode", json_schema_extra=unit("images")
    )
    discriminator_images: int = Field(
        default=2_000,
        ge=2,
        le=_MOST,
        description="images of each kind shown to the discriminator",
        json_schema_extra=unit("images"),
    )
    neighbour_images: int = Field(
        default=1_000,
        ge=1,
        le=_MOST,
        description="samples whose nearest training image is searched",
        json_schema_extra=unit("images"),
    )
    probe_images: int = Field(
        default=300_000,
        ge=256,
        le=100_000_000,
        description="images that the probe classifier sees in its training",
        json_schema_extra=unit("images"),
    )
