"""Images between their two forms: uint8 NHWC in storage, float32 NCHW in [-1, 1] in graphs."""

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]


def to_graph(images: Images) -> Floats:
    """Images (n, h, w, c) uint8 as graphs take them: (n, c, h, w) float32 in [-1, 1]."""
    return np.ascontiguousarray((images.astype(np.float32) / np.float32(127.5) - 1).transpose(0, 3, 1, 2))


def from_graph(images: Floats) -> Images:
    """Images (n, c, h, w) in [-1, 1] as they are stored: (n, h, w, c) uint8, rounded half to even."""
    pixels: Images = np.rint(np.clip((images + 1) * 127.5, 0, 255)).astype(np.uint8)
    return pixels.transpose(0, 2, 3, 1)


def to_unit_rows(images: Images) -> Floats:
    """Images as rows of pixels in [0, 1], shape (n, h·w·c)."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
