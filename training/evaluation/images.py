"""Images as evaluation handles them."""

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
Floats = NDArray[np.float32]


def to_unit_rows(images: Images) -> Floats:
    """Images as rows of pixels in [0, 1], shape (n, h·w·c)."""
    return images.reshape(len(images), -1).astype(np.float32) / np.float32(255)
