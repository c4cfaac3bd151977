"""Grids of images for people."""

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

GAP = 2


def grid(pixels: NDArray[np.uint8], columns: int | None = None) -> Image.Image:
    """Images (n, height, width, channels) side by side, row by row, on white."""
    n, height, width, channels = pixels.shape
    columns = columns or math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    canvas = np.full((rows * (height + GAP) - GAP, columns * (width + GAP) - GAP, channels), 255, np.uint8)
    for i, image in enumerate(pixels):
        top, left = (i // columns) * (height + GAP), (i % columns) * (width + GAP)
        canvas[top : top + height, left : left + width] = image
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def grid_png(pixels: NDArray[np.uint8], columns: int | None = None) -> bytes:
    """A grid as PNG; colours as a palette of 256, which is enough to look at and a third of the size."""
    picture = grid(pixels, columns)
    if picture.mode == "RGB":
        picture = picture.quantize(256, method=Image.Quantize.MEDIANCUT)
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def save_grid(path: Path, pixels: NDArray[np.uint8], columns: int | None = None) -> None:
    """Write `grid_png` to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(grid_png(pixels, columns))
