"""Images between their two forms: uint8 NHWC in storage and on the wire, float32 NCHW in [-1, 1] in graphs."""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def to_graph(pixels: Pixels) -> Floats:
    """uint8 (n, h, w, c) → float32 (n, c, h, w) in [-1, 1]."""
    scaled = pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def from_graph(images: Floats) -> Pixels:
    """float32 (n, c, h, w) in [-1, 1] → uint8 (n, h, w, c); half-way values go to the even one."""
    scaled = np.rint((images + np.float32(1)) * np.float32(127.5))
    return np.ascontiguousarray(np.clip(scaled, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1))
