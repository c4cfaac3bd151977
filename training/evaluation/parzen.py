"""Parzen-window log-likelihood, the figure of the first GAN papers, and the two figures that put it in its place.

It does not rank models: k-means centres beat true data at it (Theis, van den Oord and Bethge, "A note on the
evaluation of generative models", 2016, https://arxiv.org/abs/1511.01844). So the figure of samples comes only together
with theirs.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Dataset
from training.evaluation.distances import Rows, squared_distances
from training.evaluation.images import Images, to_unit_rows
from training.evaluation.kmeans import cached_kmeans_centres

log = logging.getLogger(__name__)

SIGMAS = tuple(float(sigma) for sigma in np.logspace(-1, 0, 10))  # the paper does not print its grid
VALIDATION_IMAGES = 1_000  # the GAN paper's number
HELD_OUT = 6  # a sixth of the training images is for validation, which is MNIST's customary 10,000 of 60,000
KMEANS_ITERATIONS = 5


@dataclass(frozen=True)
class ParzenEstimate:
    """Mean log-likelihood of test images in nats per image, its standard error over images, and the width used."""

    value: float
    error: float
    sigma: float


@dataclass(frozen=True)
class ParzenComparison:
    """The figure of samples beside that of as many k-means centres and of as many training images."""

    samples: ParzenEstimate
    kmeans: ParzenEstimate
    train: ParzenEstimate
    protocol: str


def parzen_log_likelihoods(centres: Rows, points: Rows, sigmas: Sequence[float]) -> NDArray[np.float64]:
    """Log-density at points of an equal mixture of isotropic Gaussians around centres, for several widths.

    Args:
        centres: Shape (n, d).
        points: Shape (m, d).
        sigmas: Standard deviations. The distances are computed once for all of them.

    Returns:
        Nats, shape (len(sigmas), m).
    """
    n, dim = centres.shape
    nats = np.empty((len(sigmas), len(points)))
    for part, squares in squared_distances(points, centres):
        nearest = squares.min(axis=1, keepdims=True)
        squares -= nearest
        for row, sigma in enumerate(sigmas):
            kernels = np.exp(squares * np.float32(-0.5 / sigma**2)).sum(axis=1, dtype=np.float64)
            norm = np.log(n) + 0.5 * dim * np.log(2 * np.pi * sigma**2)
            nats[row, part] = np.log(kernels) - 0.5 * nearest[:, 0].astype(np.float64) / sigma**2 - norm
    return nats


def parzen_log_likelihood(
    centres: Rows, validation: Rows, test: Rows, sigmas: Sequence[float] = SIGMAS
) -> ParzenEstimate:
    """Mean log-likelihood of test points, with the width that suits the validation points best.

    Goodfellow et al., "Generative Adversarial Networks", 2014, https://arxiv.org/abs/1406.2661, after Breuleux,
    Bengio and Vincent, "Quickly Generating Representative Samples from an RBM-Derived Process", 2011.

    Args:
        centres: Samples of the model as rows, shape (n, d).
        validation, test: Real images as rows, shapes (v, d) and (m, d) with m at least 2.
        sigmas: Widths to choose from.
    """
    sigma = sigmas[int(parzen_log_likelihoods(centres, validation, sigmas).mean(axis=1).argmax())]
    nats = parzen_log_likelihoods(centres, test, [sigma])[0]
    return ParzenEstimate(float(nats.mean()), float(nats.std(ddof=1) / np.sqrt(len(nats))), sigma)


def parzen_comparison(
    samples: Images,
    dataset: Dataset,
    cache_dir: Path,
    seed: int = 0,
    iterations: int = KMEANS_ITERATIONS,
    sigmas: Sequence[float] = SIGMAS,
) -> ParzenComparison:
    """The Parzen figure of samples, of k-means centres and of training images, all by one protocol.

    A random sixth of the training images is held out; the width is chosen on at most 1,000 of it. Centres are made from
    the rest, and training images are drawn from there.

    Args:
        samples: Images of the model (n, h, w, c); at most as many are used as training images are not held out.
        cache_dir: Folder in which the k-means centres are kept.
        seed: Of the split, the draw and the first centres.
        iterations: Of Lloyd's algorithm.
        sigmas: Widths to choose from, with pixels in [0, 1].
    """
    order = np.random.Generator(np.random.Philox(seed)).permutation(len(dataset.train.images))
    held_out, rest = np.split(order, [len(order) // HELD_OUT])
    count = min(len(samples), len(rest))
    validation = to_unit_rows(dataset.train.images[held_out[:VALIDATION_IMAGES]])
    test = to_unit_rows(dataset.test.images)
    train = to_unit_rows(dataset.train.images[rest])
    centres = cached_kmeans_centres(train, count, iterations, seed, dataset.sha256, cache_dir)
    log.info("Parzen windows on %d samples, k-means centres and training images", count)
    return ParzenComparison(
        samples=parzen_log_likelihood(to_unit_rows(samples[:count]), validation, test, sigmas),
        kmeans=parzen_log_likelihood(centres, validation, test, sigmas),
        train=parzen_log_likelihood(train[:count], validation, test, sigmas),
        protocol=f"Gaussian windows on {count} images, pixels in [0, 1]; sigma from {len(sigmas)} values of "
        f"{min(sigmas):.3g} to {max(sigmas):.3g} by {len(validation)} held-out training images; "
        f"{len(test)} test images; k-means: as many centres, {iterations} Lloyd iterations on {len(train)} "
        f"training images",
    )
