"""Likelihood of test images in nats per image, by a `score` graph: exact, or the bounds of a VAE."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.philox import uniforms
from bundle.pixels import to_graph
from bundle.priors import Normal
from training.evaluation.estimates import Estimate, mean_over_images
from training.evaluation.images import Images
from training.evaluation.sampling import Labels, rows_of, slices, with_label
from training.onnx_graph import OnnxGraph

LogWeights = NDArray[np.float64]

ROWS_PER_RUN = 1024  # images times importance samples: bounds the memory of one run
IMAGES_PER_RUN = 64


@dataclass(frozen=True)
class Bounds:
    """Bounds on the mean log-likelihood, in nats per image; errors are standard errors over images.

    Attributes:
        elbo: Evidence lower bound.
        iwae: Importance-weighted bound, tighter.
        effective_samples: How many of the importance samples count, by weight.
    """

    elbo: Estimate
    iwae: Estimate
    effective_samples: Estimate


def exact_log_likelihood(score: OnnxGraph, images: Images, labels: Labels | None = None) -> Estimate:
    """Mean of `nats` over images (n, h, w, c), n at least 2, for a graph without noise."""
    parts = [
        score.run(**with_label(score, rows_of(labels, part), image=to_graph(images[part])))["nats"]
        for part in slices(len(images), IMAGES_PER_RUN)
    ]
    return mean_over_images(np.concatenate(parts))


def likelihood_bounds(score: OnnxGraph, images: Images, labels: Labels | None, samples: int, seed: int) -> Bounds:
    """Lower bounds of log p(x) from log w_k = log p(x, z_k) - log q(z_k | x), k = 1 to K.

    ELBO: the mean of log w_k. Importance-weighted: log of the mean of w_k; Burda, Grosse and Salakhutdinov, "Importance
    Weighted Autoencoders", 2016, https://arxiv.org/abs/1509.00519. Effective samples: (Σw)² / Σw².

    Args:
        score: Gives `log_weights` (n, K) for `image`, `noise` (n, K, latent_dim) and maybe `label`.
        images: Shape (n, h, w, c), n at least 2.
        labels: Shape (n,), for a graph that takes them.
        samples: K.
        seed: Of the noise, which is a function of (seed, index of the image, K) alone.
    """
    log_w = log_weights(score, images, labels, samples, seed)
    peak = log_w.max(axis=1, keepdims=True)
    w = np.exp(log_w - peak)
    return Bounds(
        elbo=mean_over_images(log_w.mean(axis=1)),
        iwae=mean_over_images(peak[:, 0] + np.log(w.mean(axis=1))),
        effective_samples=mean_over_images(w.sum(axis=1) ** 2 / (w**2).sum(axis=1)),
    )


def log_weights(score: OnnxGraph, images: Images, labels: Labels | None, samples: int, seed: int) -> LogWeights:
    """The log importance weights, shape (n, samples); arguments as for `likelihood_bounds`."""
    latent_dim = _latent_dim(score)
    together = min(samples, ROWS_PER_RUN)
    log_w = np.empty((len(images), samples))
    for part in slices(len(images), max(1, ROWS_PER_RUN // together)):
        x = to_graph(images[part])
        noise = _noise(seed, part.start, len(x), samples, latent_dim)
        for drawn in slices(samples, together):
            inputs = with_label(score, rows_of(labels, part), image=x, noise=noise[:, drawn])
            log_w[part, drawn] = score.run(**inputs)["log_weights"]
    return log_w


def binarized(images: Images, seed: int) -> Images:
    """Each pixel black or white (0 or 255), white with the probability that its value says.

    Pixels of image i are a function of (seed, i, image) alone: one static binarisation. Salakhutdinov and Murray,
    "On the Quantitative Analysis of Deep Belief Networks", 2008.
    """
    rows = images.reshape(len(images), -1)
    white = np.empty(rows.shape, dtype=bool)
    for part in slices(len(rows), ROWS_PER_RUN):
        u = uniforms(seed, part.start, part.stop - part.start, rows.shape[1], stream="binarize")
        white[part] = u < rows[part] / 255
    return (white * np.uint8(255)).reshape(images.shape)


def _latent_dim(score: OnnxGraph) -> int:
    size = score.shapes["noise"][-1]
    if not isinstance(size, int):
        raise ValueError(
            f"input noise of the score graph has shape {score.shapes['noise']}; its last axis must be fixed"
        )
    return size


def _noise(seed: int, start: int, n: int, samples: int, latent_dim: int) -> NDArray[np.float32]:
    normal = Normal(dim=samples * latent_dim)
    u = uniforms(seed, start, n, normal.draws, stream="noise")
    return normal.transform(u).reshape(n, samples, latent_dim)
