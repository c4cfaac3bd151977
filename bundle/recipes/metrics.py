"""Which figure decides whether a new version is better, and which way it points. Names are those of evaluation."""

from typing import Literal, NamedTuple

Direction = Literal["lower", "higher"]
Promotable = Literal[
    "frechet_distance",
    "kernel_distance",
    "precision",
    "recall",
    "density",
    "coverage",
    "modes_covered",
    "class_kl",
    "label_agreement",
    "parzen_log_likelihood",
    "elbo",
    "iwae",
    "psnr",
    "ssim",
    "label_kept",
]


class Headline(NamedTuple):
    """A figure of a manifest, and which way is better."""

    metric: str
    direction: Direction


LOWER: frozenset[str] = frozenset({"frechet_distance", "kernel_distance", "class_kl"})

# Samples are what most callers ask of a model, and the Fréchet distance is what compares them whatever the likelihood:
# an ELBO depends on the likelihood's own units (sigma, binarised or not). An encoder is judged by what it reconstructs.
HEADLINE: dict[str, Headline] = {
    "vae": Headline("frechet_distance", "lower"),
    "gan": Headline("frechet_distance", "lower"),
    "inference": Headline("psnr", "higher"),
}
SAMPLES = frozenset(
    {"frechet_distance", "kernel_distance", "precision", "recall", "density", "coverage", "modes_covered", "class_kl"}
    | {"label_agreement", "parzen_log_likelihood"}
)
LIKELIHOOD = frozenset({"elbo", "iwae"})
RECONSTRUCTION = frozenset({"psnr", "ssim", "label_kept"})
OF_LABELS = frozenset({"modes_covered", "class_kl", "label_agreement", "label_kept"})


def direction(metric: str) -> Direction:
    """Which way a promotable figure is better."""
    return "lower" if metric in LOWER else "higher"
