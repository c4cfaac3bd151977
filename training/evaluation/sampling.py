"""Images drawn from an exported decoder, by seed, as the service draws them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bundle.latents import latents
from bundle.philox import labels as seeded_labels
from bundle.pixels import from_graph
from bundle.priors import Prior
from training.evaluation.images import Images
from training.onnx_graph import OnnxGraph

Labels = NDArray[np.int64]

BATCH = 64
DRAWABLE = frozenset({"z", "label"})  # inputs of a decoder that can be drawn


@dataclass(frozen=True)
class Sampler:
    """A decoder with the prior of its codes.

    Attributes:
        decode: Takes `z`, and `label` if it is class-conditional; gives `image` and maybe `pixels`.
        prior: Of `z`.
        classes: Number of labels to draw from, uniformly, where the decoder takes labels.
    """

    decode: OnnxGraph
    prior: Prior
    classes: int | None = None

    def __post_init__(self) -> None:
        unknown = set(self.decode.inputs) - DRAWABLE
        if unknown:
            raise ValueError(
                f"decode takes inputs {sorted(unknown)} that evaluation cannot draw; it can draw {sorted(DRAWABLE)}"
            )
        if self.conditional and self.classes is None:
            raise ValueError("decode takes labels, but the data set has none; evaluate it on labelled data")

    @property
    def conditional(self) -> bool:
        """Whether the decoder takes labels."""
        return "label" in self.decode.inputs

    def labels(self, seed: int, n: int) -> Labels | None:
        """The labels of images 0 to n - 1 of a seed, shape (n,); None where the decoder takes none."""
        if not self.conditional or self.classes is None:
            return None
        return seeded_labels(self.classes, seed, 0, n)

    def images(self, seed: int, n: int) -> Images:
        """Images 0 to n - 1 of a seed, shape (n, h, w, c)."""
        return np.concatenate([stored_pixels(outputs) for outputs in self.outputs(seed, n)])

    def outputs(self, seed: int, n: int) -> Iterator[dict[str, NDArray[Any]]]:
        """What the decoder gives for images 0 to n - 1 of a seed, batch by batch."""
        labels = self.labels(seed, n)
        for part in slices(n, BATCH):
            z = latents(self.prior, seed, part.start, part.stop - part.start)
            yield self.decode.run(**with_label(self.decode, rows_of(labels, part), z=z))


def slices(length: int, size: int) -> list[slice]:
    """`length` rows cut into slices of at most `size`."""
    return [slice(start, min(start + size, length)) for start in range(0, length, size)]


def rows_of(labels: Labels | None, part: slice) -> Labels | None:
    """Those labels, where there are any."""
    return None if labels is None else labels[part]


def stored_pixels(outputs: dict[str, NDArray[Any]]) -> Images:
    """The images (n, h, w, c) uint8 among a decoder's outputs."""
    return outputs["pixels"] if "pixels" in outputs else from_graph(outputs["image"])


def with_label(graph: OnnxGraph, labels: Labels | None, **arrays: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """The inputs of a graph: `arrays`, and `label` if the graph takes it.

    Raises:
        ValueError: If the graph takes labels and there are none.
    """
    if "label" not in graph.inputs:
        return arrays
    if labels is None:
        raise ValueError("a graph takes labels, but the data set has none; evaluate it on labelled data")
    return {**arrays, "label": labels}
