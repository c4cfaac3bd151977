"""The evidence lower bound and its importance-weighted form, in nats per image.

Kingma, Welling, "Auto-encoding variational Bayes", 2014, https://arxiv.org/abs/1312.6114.
Higgins et al., "beta-VAE", ICLR 2017. Burda, Grosse, Salakhutdinov, "Importance weighted autoencoders", ICLR 2016,
https://arxiv.org/abs/1509.00519.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

LOG_2PI = math.log(2 * math.pi)


class ElboTerms(NamedTuple):
    """`loss` to go down; `distortion` and `rate` in nats per image; `elbo` = −distortion − rate, whatever beta is."""

    loss: Tensor
    distortion: Tensor
    rate: Tensor
    elbo: Tensor


def negative_elbo(log_likelihood: Tensor, rate: Tensor, beta: float) -> ElboTerms:
    """β-weighted negative ELBO, averaged over the batch.

    Args:
        log_likelihood: log p(x given z), nats, shape (n,).
        rate: KL(q(z given x) ‖ p(z)), nats, shape (n,).
        beta: Weight of the rate; 1 is the ELBO, 0 an autoencoder.
    """
    distortion, rate = -log_likelihood.mean(), rate.mean()
    return ElboTerms(distortion + beta * rate, distortion, rate, -distortion - rate)


def kl_to_standard_normal(mean: Tensor, logvar: Tensor) -> Tensor:
    """KL(N(mean, exp(logvar)) ‖ N(0, I)) in nats; (n, latent_dim) each → (n,)."""
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).sum(1)


def bernoulli_log_likelihood(x: Tensor, logits: Tensor) -> Tensor:
    """log p(x) in nats of pixels in [0, 1] under Bernoulli logits; (n, c, h, w) each → (n,)."""
    # Written out, as torch's own exports to ONNX as log(sigmoid), which is -inf at logits that a trained model reaches.
    surprise = F.relu(logits) - logits * x + torch.log1p((-logits.abs()).exp())
    return -surprise.flatten(1).sum(1)


def gaussian_log_likelihood(x: Tensor, mean: Tensor, log_sigma: Tensor) -> Tensor:
    """log density in nats of pixels in [-1, 1] under N(mean, sigma²); (n, c, h, w), scalar log_sigma → (n,)."""
    squared = ((x - mean) * (-log_sigma).exp()).square()
    return (-0.5 * (squared + LOG_2PI) - log_sigma).flatten(1).sum(1)


def standard_normal_log_density(z: Tensor) -> Tensor:
    """log N(z; 0, I) in nats; (..., latent_dim) → (...)."""
    return (-0.5 * (z.square() + LOG_2PI)).sum(-1)


def normal_log_density(z: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """log N(z; mean, exp(logvar)) in nats; (..., latent_dim) each → (...)."""
    return (-0.5 * ((z - mean).square() * (-logvar).exp() + logvar + LOG_2PI)).sum(-1)


def importance_weighted_bound(log_weights: Tensor) -> Tensor:
    """log of the mean of K importance weights: (n, K) → (n,), nats; at least the ELBO, at most log p(x) on average."""
    count = torch.ones_like(log_weights).sum(1)  # as a tensor: an exported graph must not bake K in
    return torch.logsumexp(log_weights, dim=1) - count.log()
