"""Everything that can be measured on a model's graphs, as metrics for its manifest."""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path

from bundle.manifest import Metric
from bundle.priors import Prior
from bundle.recipes import EvaluationSettings
from training.data.dataset import Dataset
from training.evaluation import graph_metrics, sample_metrics
from training.evaluation.fidelity import KERNEL_BLOCKS
from training.evaluation.images import Images
from training.evaluation.neighbours import neighbour_pairs
from training.evaluation.probe import Probe, load_or_train_probe
from training.evaluation.probe_training import ProbeRecipe
from training.evaluation.sampling import DRAWABLE, Sampler
from training.onnx_graph import OnnxGraph

log = logging.getLogger(__name__)

LEAST_IMAGES = 2 * KERNEL_BLOCKS  # in either split, for any figure to mean something


def evaluate(
    graphs: Mapping[str, OnnxGraph],
    prior: Prior | None,
    dataset: Dataset,
    settings: EvaluationSettings,
    cache_dir: Path,
) -> list[Metric]:
    """Measure what the graphs allow.

    `decode` with a prior: samples against the test set, and how near they are to training images. `score`: likelihood.
    `encode` with `decode`: reconstruction. `discriminate` with `decode` and a prior: its mean answers. Whether a model
    is class-conditional is read from the inputs of its graphs; labels are then drawn uniformly. A decoder with inputs
    other than `z` and `label` is passed over, with a warning.

    Args:
        graphs: By name; those of no use here are passed over.
        prior: Of the decoder's codes; None for a model that cannot sample.
        dataset: What the model was trained on.
        settings: How much is measured.
        cache_dir: Folder for the probe and the k-means centres of data sets.

    Returns:
        Metrics with unique names, in a stable order; none where a split has fewer than 20 images.

    Raises:
        ValueError: If a graph takes labels and the data set has none.
    """
    metrics: list[Metric] = []
    fewest = min(len(dataset.train), len(dataset.test))
    if fewest < LEAST_IMAGES:
        log.warning("%s has a split of %d images; measuring takes %d", dataset.name, fewest, LEAST_IMAGES)
        return metrics
    for metric in _measure(graphs, prior, dataset, settings, cache_dir):
        log.info(
            "%s: %.4g%s %s", metric.name, metric.value, f" ± {metric.error:.2g}" if metric.error else "", metric.unit
        )
        metrics.append(metric)
    return metrics


def draw_neighbours(decode: OnnxGraph, prior: Prior, dataset: Dataset, count: int = 16, seed: int = 0) -> Images:
    """The first samples of a seed, each beside its nearest training image by pixels, as a picture to look at.

    Returns:
        Shape (count, 2, h, w, c), uint8.
    """
    samples = Sampler(decode, prior, class_count(dataset)).images(seed, count)
    return neighbour_pairs(samples, dataset.train.images)


def class_count(dataset: Dataset) -> int | None:
    """Number of classes of a labelled data set; None without labels."""
    labels = dataset.train.labels
    return None if labels is None else int(labels.max()) + 1


def _measure(
    graphs: Mapping[str, OnnxGraph],
    prior: Prior | None,
    dataset: Dataset,
    settings: EvaluationSettings,
    cache_dir: Path,
) -> Iterator[Metric]:
    decode, encode = _drawable(graphs.get("decode")), graphs.get("encode")
    score, discriminate = graphs.get("score"), graphs.get("discriminate")
    sampler = Sampler(decode, prior, class_count(dataset)) if decode and prior else None
    if sampler:
        probe = _probe(dataset, settings, cache_dir)
        yield from sample_metrics.measure(sampler, probe, dataset, settings, cache_dir)
    if score:
        yield from graph_metrics.likelihood(score, dataset, settings)
    if encode and decode:
        probe = _probe(dataset, settings, cache_dir)
        yield from graph_metrics.reconstruction(encode, decode, probe, dataset, settings)
    if discriminate and sampler:
        yield from graph_metrics.discrimination(discriminate, sampler, dataset, settings)


def _drawable(decode: OnnxGraph | None) -> OnnxGraph | None:
    if decode is None or set(decode.inputs) <= DRAWABLE:
        return decode
    log.warning("decode takes %s; only decoders of %s are measured", sorted(decode.inputs), sorted(DRAWABLE))
    return None


def _probe(dataset: Dataset, settings: EvaluationSettings, cache_dir: Path) -> Probe:
    return load_or_train_probe(dataset, cache_dir, ProbeRecipe(images=settings.probe_images))
