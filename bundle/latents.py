"""Latent codes by (seed, index): the same in training and in the service.

The uniform numbers are the same to the bit everywhere. The logarithm and cosine that numpy picks depend on the CPU in
the last bit of a float64, which should reach the float32 of a code about once in 10**10 numbers.
"""

import math

import numpy as np
from numpy.typing import NDArray

from bundle.errors import LatentError
from bundle.philox import uniforms
from bundle.priors import Prior


def latents(prior: Prior, seed: int, start: int, n: int, truncation: float = 1.0) -> NDArray[np.float32]:
    """Codes of the images `start` to `start + n - 1` of a seed.

    Row i depends on (prior, seed, start + i, truncation) alone.

    Args:
        prior: What the codes are drawn from.
        seed: 0 to 2**53 - 1.
        start: Index of the first image.
        n: Number of images.
        truncation: Factor towards the prior's centre, at least 0; 1 is off.

    Returns:
        Shape (n, prior.dim).

    Raises:
        LatentError: If a number is out of its range.
        PriorError: If the prior cannot be truncated.
    """
    if not (math.isfinite(truncation) and truncation >= 0):
        raise LatentError(f"truncation is {truncation}; expected a finite number of at least 0, where 1 is off")
    z = prior.transform(uniforms(seed, start, n, prior.draws))
    return z if truncation == 1 else prior.truncate(z, truncation)
