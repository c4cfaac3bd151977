"""Uploaded images through a model's encoder."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bundle.pixels import to_graph
from service.endpoint import Call
from service.images import Megapixels, Upload, decode_all
from service.model import Model
from service.plan import check_count, choose_labels, inputs_for
from service.schemas import Label


@dataclass(frozen=True)
class Encoded:
    """Uploads as the model takes them, and their codes.

    Attributes:
        pixels: uint8, shape (n, h, w, c).
        mean: Shape (n, latent_dim).
        logvar: Likewise, where the encoder is stochastic.
        label: Class numbers (n,), where the request gives them.
    """

    pixels: NDArray[np.uint8]
    mean: NDArray[np.float32]
    logvar: NDArray[np.float32] | None
    label: NDArray[np.int64] | None


async def encode(
    call: Call, model: Model, images: Sequence[Upload], label: Label | list[Label] | None, resize: bool
) -> Encoded:
    """Decode the files and run the encoder.

    Raises:
        ImageError: If an upload cannot be used.
        InvalidRequestError: If there are too many, or the encoder needs labels that are not given.
    """
    n = check_count(call, len(images))
    spec = model.manifest.image
    chosen = _labels(model, label, n)
    settings = call.context.settings
    limits = Megapixels(settings.max_image_megapixels, settings.max_upload_megapixels)
    # decoding a small file can still take long, so the size is that of no file
    pixels = await call.context.workers.run(1 << 30, lambda: decode_all(images, spec, resize, limits))
    graph = model.manifest.graphs["encode"]
    outputs = ["mean"] + (["logvar"] if graph.output("logvar") else [])
    used = chosen if graph.input("label") else None
    inputs = inputs_for(model, "encode", {"image": to_graph(pixels), "label": used})
    found = await call.run(model, "encode", inputs, outputs)
    return Encoded(pixels, found["mean"], found.get("logvar"), chosen)


def _labels(model: Model, label: Label | list[Label] | None, n: int) -> NDArray[np.int64] | None:
    graphs = model.manifest.graphs
    by_decoder = "decode" in graphs and graphs["decode"].input("label") is not None
    return choose_labels(model, "decode" if by_decoder else "encode", label, n)
