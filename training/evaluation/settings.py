"""How much is measured."""

from pydantic import BaseModel, ConfigDict, Field


class EvaluationSettings(BaseModel):
    """How many images each figure is measured on; every number is capped by what the data set has."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, description="of samples, noise, splits and draws")
    samples: int = Field(default=10_000, ge=100, description="samples for the feature figures and the Parzen window")
    parzen: bool = Field(default=False, description="whether to estimate the Parzen-window log-likelihood")
    parzen_iterations: int = Field(default=5, ge=0, description="Lloyd iterations of its k-means centres")
    likelihood_images: int = Field(default=10_000, ge=2, description="test images whose likelihood is bounded")
    iwae_samples: int = Field(default=50, ge=1, description="importance samples per image")
    binarize: bool = Field(default=False, description="whether to binarise test images before scoring them")
    reconstruction_images: int = Field(default=10_000, ge=2, description="test images to encode and decode")
    discriminator_images: int = Field(default=2_000, ge=2, description="images of each kind shown to a discriminator")
    neighbour_images: int = Field(default=1_000, ge=1, description="samples whose nearest training image is searched")
    probe_images: int = Field(default=300_000, ge=256, description="images that the probe sees in its training")
