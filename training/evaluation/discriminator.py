"""What a discriminator thinks of real and of generated images."""

import numpy as np
from numpy.typing import NDArray

from bundle.pixels import to_graph
from training.data.dataset import ImageSet
from training.evaluation.estimates import Estimate, mean_over_images
from training.evaluation.sampling import BATCH, Sampler, rows_of, slices, with_label
from training.onnx_graph import OnnxGraph


def mean_real(discriminate: OnnxGraph, real: ImageSet, n: int) -> Estimate:
    """Mean D(x), the sigmoid of the logit, over the first n real images, n at least 2."""
    logits = []
    for part in slices(min(n, len(real.images)), BATCH):
        inputs = with_label(discriminate, rows_of(real.labels, part), image=to_graph(real.images[part]))
        logits.append(discriminate.run(**inputs)["logit"])
    return mean_over_images(_sigmoid(np.concatenate(logits)))


def mean_fake(discriminate: OnnxGraph, sampler: Sampler, seed: int, n: int) -> Estimate:
    """Mean D(G(z)) over images 0 to n - 1 of a seed, n at least 2, as the decoder gives them: not rounded to uint8."""
    labels = sampler.labels(seed, n)
    logits = []
    for part, outputs in zip(slices(n, BATCH), sampler.outputs(seed, n), strict=True):
        inputs = with_label(discriminate, rows_of(labels, part), image=outputs["image"])
        logits.append(discriminate.run(**inputs)["logit"])
    return mean_over_images(_sigmoid(np.concatenate(logits)))


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits.astype(np.float64))))
