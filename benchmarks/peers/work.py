"""What every peer does for a request: latents from the seed, the ONNX file with one thread, uint8 or one PNG.

Runs in the peers' environments: numpy, onnxruntime and Pillow, nothing of ours.
"""

import io
import math
import os
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from PIL import Image

_GAP = 2  # pixels of white between neighbours
_ZLIB_LEVEL = 1  # as in our own PNG: the fastest that compresses

Pixels = NDArray[np.uint8]


class Work:
    """The model that `BENCH_MODEL` names."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = ort.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"]
        )
        self._latent_dim = int(self._session.get_inputs()[0].shape[1])

    def codes(self, n: int, seed: int) -> NDArray[np.float32]:
        """Codes (n, latent_dim)."""
        return np.random.default_rng(seed).standard_normal((n, self._latent_dim), dtype=np.float32)

    def pixels(self, z: NDArray[np.float32]) -> Pixels:
        """Images uint8 (n, h, w, c) of codes (n, latent_dim)."""
        found: Pixels = self._session.run(["pixels"], {"z": z})[0]
        return found


def port() -> int:
    """Where the peer has to listen, on loopback."""
    return int(os.environ["BENCH_PORT"])


def media_type(png: bool) -> str:
    """Of the answer."""
    return "image/png" if png else "application/octet-stream"


def encode(pixels: Pixels, png: bool) -> bytes:
    """Raw uint8, or one PNG with the images in a grid, laid out as our own service does."""
    return _grid(pixels) if png else pixels.tobytes()


def _grid(pixels: Pixels) -> bytes:
    n, height, width, channels = pixels.shape
    columns = math.ceil(math.sqrt(n))
    rows = -(-n // columns)
    sheet = np.full((rows * (height + _GAP), columns * (width + _GAP), channels), 255, np.uint8)
    for i, image in enumerate(pixels):
        top, left = (i // columns) * (height + _GAP), (i % columns) * (width + _GAP)
        sheet[top : top + height, left : left + width] = image
    sheet = sheet[:-_GAP, :-_GAP]
    file = io.BytesIO()
    Image.fromarray(sheet[..., 0] if channels == 1 else sheet).save(file, "PNG", compress_level=_ZLIB_LEVEL)
    return file.getvalue()
