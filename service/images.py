"""Uploaded images to the arrays that a model takes. The only place where images are anything but float32 NCHW.

An upload is judged by its header before a single pixel is decoded, so what it costs is bounded by
the settings `max_image_megapixels` and `max_upload_megapixels`, whatever its length.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from bundle.manifest import ImageSpec
from service.errors import ImageError

Pixels = NDArray[np.uint8]
Upload = bytes | NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_MOVING = ("PNG", "WEBP", "GIF")  # not JPEG: a telephone's MPO photograph has thumbnails and depth beside it
_WHITE = (255, 255, 255, 255)


@dataclass
class Megapixels:
    """How many the images of one request may have, judged by their headers before any is decoded.

    Attributes:
        of_each: Of one image.
        of_all: Of all of them.
    """

    of_each: float
    of_all: float
    _spent: float = 0.0

    def spend(self, width: int, height: int) -> None:
        """Take an image off the request's account.

        Raises:
            ImageError: If it is too large, alone or with those before it.
        """
        size = width * height / 1e6
        if size > self.of_each:
            raise ImageError(
                f"the image is {width}x{height}, {size:.1f} megapixels; at most {self.of_each:g} are taken "
                "(setting max_image_megapixels)"
            )
        self._spent += size
        if self._spent > self.of_all:
            raise ImageError(
                f"with this image the request has {self._spent:.3g} megapixels; at most {self.of_all:g} are taken "
                "(setting max_upload_megapixels): send fewer images at once"
            )


def decode_all(uploads: Sequence[Upload], spec: ImageSpec, resize: bool, limits: Megapixels) -> Pixels:
    """Uploads as the model takes them.

    Args:
        uploads: Image files, or arrays (h, w) or (h, w, 1 or 3).
        spec: The model's images.
        resize: Cut out the largest central part of the model's shape and scale it; without it, other sizes are refused.
        limits: What the uploads may cost.

    Returns:
        Shape (n, spec.height, spec.width, spec.channels).

    Raises:
        ImageError: Which image, what is wrong with it, what is expected.
    """
    return np.stack([_decode(upload, i, len(uploads), spec, resize, limits) for i, upload in enumerate(uploads)])


def _decode(upload: Upload, i: int, n: int, spec: ImageSpec, resize: bool, limits: Megapixels) -> Pixels:
    try:
        image = _open(upload, limits) if isinstance(upload, bytes) else _from_array(upload, limits)
        plain = _opaque(image, "L" if spec.channels == 1 else "RGB")
        return np.asarray(_fit(plain, spec, resize)).reshape(spec.height, spec.width, spec.channels)
    except ImageError as error:
        error.detail = f"image {i}: {error.detail}" if n > 1 else error.detail
        raise


def _open(raw: bytes, limits: Megapixels) -> Image.Image:
    if not raw:
        raise ImageError("the image has no bytes; send a file")
    try:
        image = Image.open(io.BytesIO(raw), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(f"the image is too large: {error}; at most {limits.of_each:g} megapixels are taken") from error
    except Exception as error:  # Pillow's readers let through whatever a broken header makes them raise
        raise ImageError(
            f"the {len(raw)} bytes are not an image of the kinds that are read: {', '.join(FORMATS)}"
        ) from error
    limits.spend(image.width, image.height)
    try:
        if image.format in _MOVING and getattr(image, "is_animated", False):
            raise ImageError(f"the {image.format} is animated; send one frame of it")
        image.load()
        return ImageOps.exif_transpose(image)
    except ImageError:
        raise
    except Exception as error:  # likewise for broken pixels
        raise ImageError(f"the {image.format} cannot be decoded, it may be truncated: {error}") from error


def _from_array(array: NDArray[np.uint8], limits: Megapixels) -> Image.Image:
    if array.ndim not in (2, 3) or 0 in array.shape or (array.ndim == 3 and array.shape[2] not in (1, 3)):
        raise ImageError(f"the array has shape {array.shape}; expected (height, width), or (height, width, 1 or 3)")
    limits.spend(array.shape[1], array.shape[0])
    return Image.fromarray(np.ascontiguousarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array))


def _opaque(image: Image.Image, mode: str) -> Image.Image:
    """In the model's colours; what is transparent becomes white."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.rint(np.asarray(image, dtype=np.float32) / 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        image = Image.fromarray(np.rint(np.clip(np.asarray(image, dtype=np.float32), 0, 65535) / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    return image if image.mode == mode else image.convert(mode)


def _fit(image: Image.Image, spec: ImageSpec, resize: bool) -> Image.Image:
    if image.size == (spec.width, spec.height):
        return image
    if not resize:
        raise ImageError(
            f"the image is {image.width}x{image.height}, the model takes {spec.width}x{spec.height}; "
            'resize it, or send "resize": true to have its centre cut out and scaled'
        )
    return ImageOps.fit(image, (spec.width, spec.height), Image.Resampling.LANCZOS)
