"""Several images in one: grids and strips, as PNG, JPEG or WebP."""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.errors import InvalidRequestError
from service.formats.negotiation import JPEG, PNG, WEBP
from service.formats.png import encode_png

Pixels = NDArray[np.uint8]

GAP = 2  # pixels of white between neighbours
_LONGEST_SIDE = {PNG: 2**31 - 1, JPEG: 65_500, WEBP: 16_383}  # libjpeg's and libwebp's own limits
_DEFAULT_JPEG_QUALITY = 90


def tile(images: Pixels, columns: int) -> Pixels:
    """Images (n, h, w, c) side by side in rows of `columns`, white between them and in what the last row leaves."""
    n, height, width, channels = images.shape
    rows = -(-n // columns)
    sheet = np.full((rows * (height + GAP), columns * (width + GAP), channels), 255, dtype=np.uint8)
    for i, image in enumerate(images):
        top, left = (i // columns) * (height + GAP), (i % columns) * (width + GAP)
        sheet[top : top + height, left : left + width] = image
    return sheet[:-GAP, :-GAP]


def near_square(n: int) -> int:
    """Columns of the grid for n images: the smallest square that holds them."""
    return math.ceil(math.sqrt(n))


def encode_still(pixels: Pixels, media_type: str, quality: int | None) -> bytes:
    """One image (h, w, c) as PNG, JPEG (quality 90 unless said) or WebP (lossless unless a quality is said).

    Raises:
        InvalidRequestError: If the format cannot hold an image of this size.
    """
    limit = _LONGEST_SIDE[media_type]
    height, width, _ = pixels.shape
    if max(height, width) > limit:
        raise InvalidRequestError(
            f"the picture would be {width}x{height}; {media_type} holds at most {limit} pixels a side. "
            "Ask for fewer images, or accept image/png"
        )
    if media_type == PNG:
        return encode_png(pixels)
    file = io.BytesIO()
    image = to_pillow(pixels)
    if media_type == JPEG:
        image.save(file, "JPEG", quality=_DEFAULT_JPEG_QUALITY if quality is None else quality)
    else:
        image.save(file, "WEBP", **webp_options(quality))
    return file.getvalue()


def webp_options(quality: int | None) -> dict[str, int | bool]:
    """Pillow's options for lossless WebP, or for a lossy one if there is a quality."""
    return {"lossless": True, "quality": 50, "method": 2} if quality is None else {"quality": quality, "method": 2}


def to_pillow(pixels: Pixels) -> Image.Image:
    """A Pillow image of (h, w, 1) or (h, w, 3)."""
    return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels))
