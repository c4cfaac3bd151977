"""Inputs to try graphs with: real images, codes and noise by Philox, labels in turn."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.latents import latents
from bundle.priors import Normal, Prior
from training.data.dataset import Dataset
from training.data.stream import to_float
from training.families.base import Family, Graph

Arrays = dict[str, NDArray[Any]]
NOISE_SAMPLES = 2  # K of a bound


def trial_inputs(graph: Graph, family: Family, dataset: Dataset | None, n: int, start: int = 0) -> Arrays:
    """Inputs number `start` to `start + n - 1` for a graph, by input name.

    `z` comes from the family's prior (else a standard normal), `image` from the test images, in turn; `label` counts
    through the classes; other floats are standard normal, other integers 0.

    Raises:
        ValueError: If a graph takes images and there is no data.
    """
    arrays: Arrays = {}
    for spec in graph.inputs:
        shape = (n, *(NOISE_SAMPLES if isinstance(axis, str) else axis for axis in spec.shape[1:]))
        if spec.name == "image":
            if dataset is None:
                raise ValueError("a graph that takes images cannot be tried without data")
            rows = np.arange(start, start + n) % len(dataset.test)
            arrays["image"] = to_float(dataset.test.images[rows]).numpy()
        elif spec.name == "label":
            arrays["label"] = np.arange(start, start + n, dtype=np.int64) % len(family.label_names or ("",))
        elif spec.dtype == "int64":
            arrays[spec.name] = np.zeros(shape, np.int64)
        else:
            prior = family.prior if spec.name == "z" else None
            arrays[spec.name] = _codes(prior or Normal(dim=int(np.prod(shape[1:]))), start, n).reshape(shape)
    return arrays


def _codes(prior: Prior, start: int, n: int) -> NDArray[np.float32]:
    return latents(prior, 0, start, n)
