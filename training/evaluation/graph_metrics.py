"""Metrics of the graphs that look at test images: score, encode with decode, discriminate."""

from collections.abc import Iterator

from bundle.manifest import Metric
from bundle.recipes import EvaluationSettings
from training.data.dataset import Dataset, ImageSet
from training.evaluation.discriminator import mean_fake, mean_real
from training.evaluation.estimates import Estimate
from training.evaluation.images import Images
from training.evaluation.likelihood import binarized, exact_log_likelihood, likelihood_bounds
from training.evaluation.probe import Probe
from training.evaluation.reconstruction import compare, reconstructions
from training.evaluation.sampling import Labels, Sampler, rows_of
from training.onnx_graph import OnnxGraph


def likelihood(score: OnnxGraph, dataset: Dataset, settings: EvaluationSettings) -> Iterator[Metric]:
    """Exact log-likelihood, or for a graph that takes noise: ELBO, importance-weighted bound, effective sample size."""
    images, labels = _first(dataset.test, settings.likelihood_images)
    pixels = "test images"
    if settings.binarize:
        images, pixels = binarized(images, settings.seed), f"test images, binarised once with seed {settings.seed}"
    protocol = f"{len(images)} {pixels}"
    if "noise" not in score.inputs:
        exact = exact_log_likelihood(score, images, labels)
        yield _metric("log_likelihood", exact, "nats per image", f"exact; {protocol}")
        return
    k = settings.iwae_samples
    bounds = likelihood_bounds(score, images, labels, k, settings.seed)
    protocol = f"{protocol}; {k} importance samples per image"
    yield _metric("elbo", bounds.elbo, "nats per image", f"{protocol}, averaged")
    yield _metric(f"iwae_{k}", bounds.iwae, "nats per image", protocol)
    yield _metric(f"effective_sample_size_{k}", bounds.effective_samples, "samples", protocol)


def reconstruction(
    encode: OnnxGraph, decode: OnnxGraph, probe: Probe, dataset: Dataset, settings: EvaluationSettings
) -> Iterator[Metric]:
    """PSNR and SSIM of test images decoded from their mean codes, and the share that keeps its label."""
    images, labels = _first(dataset.test, settings.reconstruction_images)
    found = compare(images, reconstructions(encode, decode, images, labels), probe)
    protocol = f"{len(images)} test images decoded from the mean of their code"
    yield _metric("psnr", found.psnr, "dB", protocol)
    yield _metric("ssim", found.ssim, "ratio", f"{protocol}; Gaussian window of 11 pixels")
    if found.label_kept is not None:
        yield _metric("label_kept", found.label_kept, "share", f"{protocol}; classes by the {probe.describe()}")


def discrimination(
    discriminate: OnnxGraph, sampler: Sampler, dataset: Dataset, settings: EvaluationSettings
) -> Iterator[Metric]:
    """Mean D(x) on training and test images, mean D(G(z))."""
    n, seed = settings.discriminator_images, settings.seed
    for split, images in (("train", dataset.train), ("test", dataset.test)):
        count = min(n, len(images.images))
        answer = mean_real(discriminate, images, count)
        yield _metric(f"d_real_{split}", answer, "probability", f"sigmoid of the logit; {count} {split} images", split)
    fake = mean_fake(discriminate, sampler, seed, n)
    yield _metric("d_fake", fake, "probability", f"sigmoid of the logit; {n} samples of seed {seed}", "samples")


def _first(images: ImageSet, count: int) -> tuple[Images, Labels | None]:
    return images.images[:count], rows_of(images.labels, slice(0, count))


def _metric(name: str, estimate: Estimate, unit: str, protocol: str, split: str = "test") -> Metric:
    return Metric(name=name, value=estimate.value, error=estimate.error, unit=unit, protocol=protocol, split=split)
