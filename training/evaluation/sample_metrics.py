"""Metrics of a model's samples, each beside the figure that real images get."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.manifest import Metric
from bundle.recipes import EvaluationSettings
from training.data.dataset import Dataset
from training.evaluation.estimates import mean_over_images
from training.evaluation.fidelity import KERNEL_BLOCKS, frechet_distance, kernel_distance, overlap
from training.evaluation.images import Images, to_unit_rows
from training.evaluation.modes import modes
from training.evaluation.neighbours import neighbours
from training.evaluation.parzen import ParzenEstimate, parzen_comparison
from training.evaluation.probe import Probe
from training.evaluation.sampling import Sampler

Features = NDArray[np.float32]


def measure(
    sampler: Sampler, probe: Probe, dataset: Dataset, settings: EvaluationSettings, cache_dir: Path
) -> Iterator[Metric]:
    """Fidelity on the probe's features, modes, nearest neighbours, and the Parzen window if it is asked for.

    A metric called `..._floor` is the same figure with as many random training images in the samples' place.
    """
    count = min(settings.samples, len(dataset.test.images), len(dataset.train.images))
    samples = sampler.images(settings.seed, settings.samples if settings.parzen else count)
    fake = samples[:count]
    test = _random_images(dataset.test.images, count, settings.seed)
    train = _random_images(dataset.train.images, count, settings.seed)
    protocol = f"{count} samples of seed {settings.seed} and {count} test images; {probe.describe()}"
    floor_protocol = f"{count} training images in the samples' place and {count} test images; {probe.describe()}"

    test_features = probe.features(test)
    yield from _fidelity(test_features, probe.features(fake), "", protocol)
    yield from _fidelity(test_features, probe.features(train), "_floor", floor_protocol)
    if probe.knows_labels:
        yield from _modes(probe, test, fake, "", protocol)
        yield from _modes(probe, test, train, "_floor", floor_protocol)
        yield from _label_agreement(probe, sampler, fake, settings.seed, protocol)
    yield from _neighbours(probe, fake, test, dataset.train.images, settings.neighbour_images)
    if settings.parzen:
        yield from _parzen(samples, dataset, settings, cache_dir)


def _random_images(images: Images, count: int, seed: int) -> Images:
    return images[np.random.Generator(np.random.Philox(seed)).permutation(len(images))[:count]]


def _fidelity(real: Features, fake: Features, suffix: str, protocol: str) -> Iterator[Metric]:
    frechet, kernel, cover = frechet_distance(real, fake), kernel_distance(real, fake), overlap(real, fake)
    blocks = f"{protocol}; {KERNEL_BLOCKS} blocks"
    figures = (
        ("frechet_distance", frechet, None, "squared feature units", protocol),
        ("kernel_distance", kernel.value, kernel.error, "squared MMD, cubic kernel", blocks),
        ("precision", cover.precision, None, "share", f"{protocol}; k = 3"),
        ("recall", cover.recall, None, "share", f"{protocol}; k = 3"),
        ("density", cover.density, None, "ratio", f"{protocol}; k = 5"),
        ("coverage", cover.coverage, None, "share", f"{protocol}; k = 5"),
    )
    for name, value, error, unit, how in figures:
        yield Metric(name=name + suffix, value=value, error=error, unit=unit, protocol=how, split="test")


def _modes(probe: Probe, test: Images, fake: Images, suffix: str, protocol: str) -> Iterator[Metric]:
    found = modes(probe.classes(test), probe.classes(fake))
    share = f"{protocol}; of {found.total} classes, covered by at least {found.least_share:.2%} of the images"
    yield Metric(name=f"modes_covered{suffix}", value=found.covered, unit="classes", protocol=share, split="test")
    yield Metric(name=f"class_kl{suffix}", value=found.class_kl, unit="nats", protocol=protocol, split="test")


def _label_agreement(probe: Probe, sampler: Sampler, fake: Images, seed: int, protocol: str) -> Iterator[Metric]:
    labels = sampler.labels(seed, len(fake))
    if labels is not None:
        agreement = mean_over_images((probe.classes(fake) == labels).astype(np.float64))
        yield Metric(name="label_agreement", **vars(agreement), unit="share", protocol=protocol, split="samples")


def _neighbours(probe: Probe, fake: Images, test: Images, train: Images, limit: int) -> Iterator[Metric]:
    fake, test = fake[:limit], test[:limit]
    protocol = (
        f"median Euclidean distance of {len(fake)} samples to the nearest of {len(train)} training images, "
        f"over that of {len(test)} test images; far below 1 means copies"
    )
    by_pixels = neighbours(to_unit_rows(fake), to_unit_rows(test), to_unit_rows(train))
    by_features = neighbours(probe.features(fake), probe.features(test), probe.features(train))
    spaces = (
        ("nearest_neighbour_ratio", by_pixels.ratio, f"{protocol}; pixels"),
        ("nearest_neighbour_ratio_features", by_features.ratio, f"{protocol}; features of {probe.describe()}"),
    )
    for name, ratio, how in spaces:
        if ratio is not None:
            yield Metric(name=name, value=ratio, unit="ratio", protocol=how, split="train")


def _parzen(samples: Images, dataset: Dataset, settings: EvaluationSettings, cache_dir: Path) -> Iterator[Metric]:
    found = parzen_comparison(samples, dataset, cache_dir, settings.seed, settings.parzen_iterations)
    estimates: tuple[tuple[str, ParzenEstimate], ...] = (
        ("parzen_log_likelihood", found.samples),
        ("parzen_log_likelihood_kmeans", found.kmeans),
        ("parzen_log_likelihood_train", found.train),
    )
    for name, estimate in estimates:
        yield Metric(
            name=name,
            value=estimate.value,
            error=estimate.error,
            unit="nats per image",
            protocol=f"{found.protocol}; sigma = {estimate.sigma:.3f}",
            split="test",
        )
