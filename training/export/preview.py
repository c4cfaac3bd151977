"""`preview.png`: a fixed grid that shows people what a bundle does."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.latents import latents
from bundle.philox import labels
from training.data.dataset import Dataset
from training.data.stream import to_float
from training.families.base import Family
from training.onnx_graph import OnnxGraph

SAMPLES = 64
PAIRS = 8
COLUMNS = 8


def preview(sessions: dict[str, OnnxGraph], family: Family, dataset: Dataset) -> NDArray[np.uint8]:
    """Samples of seed 0; below them, where the model can, a row of test images and a row of their reconstructions.

    Returns:
        Images (n, h, w, c), to be laid out in rows of 8.
    """
    parts = []
    decode, encode = sessions.get("decode"), sessions.get("encode")
    if decode and family.prior:
        parts.append(_samples(decode, family))
    if decode and encode and "label" not in decode.inputs:
        real = dataset.test.images[:PAIRS]
        codes = encode.run(image=to_float(real).numpy())["mean"]
        parts += [_full_row(real), _full_row(decode.run(z=codes)["pixels"])]
    return np.concatenate(parts or [dataset.test.images[:SAMPLES]])


def _samples(decode: OnnxGraph, family: Family) -> NDArray[np.uint8]:
    assert family.prior is not None
    inputs: dict[str, NDArray[Any]] = {"z": latents(family.prior, 0, 0, SAMPLES)}
    if "label" in decode.inputs:
        classes = len(family.label_names or ())
        inputs["label"] = np.arange(SAMPLES) % classes if classes <= COLUMNS else labels(classes, 0, 0, SAMPLES)
    return np.asarray(decode.run(**inputs)["pixels"])


def _full_row(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    missing = COLUMNS - len(images)
    white = np.full((missing, *images.shape[1:]), 255, np.uint8)
    return np.concatenate([images, white]) if missing > 0 else images
