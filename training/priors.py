"""Priors that are fitted to codes."""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from bundle.priors import Mixture
from training.errors import DataError


def fit_mixture(codes: NDArray[np.float32], components: int, seed: int) -> Mixture:
    """A Gaussian mixture with full covariances, by expectation maximisation.

    Args:
        codes: (n, latent_dim).
        components: Number of Gaussians.
        seed: Of the starting points.

    Raises:
        DataError: If there are fewer codes than components.
    """
    if len(codes) < components:
        raise DataError(f"{len(codes)} codes cannot carry a mixture of {components}; lower model.mixture_components")
    model = GaussianMixture(components, reg_covar=1e-4, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a prior need not be at the optimum to be sampled
        model.fit(codes.astype(np.float64))
    return Mixture(
        weights=(model.weights_ / model.weights_.sum()).tolist(),
        means=model.means_.tolist(),
        scale_tril=np.linalg.cholesky(model.covariances_).tolist(),
    )
