"""One image file of a stranger: its size from its header, then its pixels, each within limits."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from bundle.uploads.archive import kind_of, refusing
from bundle.uploads.errors import UploadError
from bundle.uploads.limits import UploadLimits

Pixels = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
_MOVING = ("PNG", "WEBP", "GIF")  # not JPEG: a telephone's MPO photograph has thumbnails and depth beside it
_GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I")
_TURNED = (5, 6, 7, 8)  # values of EXIF's orientation that swap width and height
_SCAN = b"\xff\xda"  # in a JPEG's compressed data FF is followed by 00 or a restart, never by this
_WHITE = (255, 255, 255, 255)


@dataclass(frozen=True)
class Look:
    """What an image's header says: its size as it is to be seen (EXIF rotation applied), and whether it is grey."""

    width: int
    height: int
    grey: bool


def look(raw: bytes, what: str, limits: UploadLimits) -> Look:
    """What a file's header says; no pixel is decoded.

    Args:
        raw: The file.
        what: To call it in a refusal.
        limits: For its pixels.

    Raises:
        UploadError: If it is no image of the kinds that are read, animated, or too large.
    """
    with _opened(raw, what, limits) as image:
        width, height = image.size
        told = image.format != "PNG" or "exif" in image.info  # else Pillow decodes all pixels to look behind them
        with refusing(f"{what} has EXIF data that cannot be read"):
            turned = told and image.getexif().get(ExifTags.Base.Orientation) in _TURNED
        grey = image.mode in _GREY
        return Look(height, width, grey) if turned else Look(width, height, grey)


def decode(raw: bytes, what: str, limits: UploadLimits, channels: int, size: int | None) -> Pixels:
    """A file's pixels (height, width, channels), upright, on white where it is transparent.

    Args:
        raw, what, limits: As for `look`.
        channels: 1 or 3.
        size: Side of the square to cut from the middle and scale to; None leaves the size as it is.

    Raises:
        UploadError: If it is damaged or truncated, or for what `look` refuses.
    """
    with _opened(raw, what, limits) as image, refusing(f"{what} cannot be decoded, it may be truncated"):
        image.load()
        return fitted(opaque(ImageOps.exif_transpose(image), channels), channels, size)


def opaque(image: Image.Image, channels: int) -> Image.Image:
    """In grey or in colour, eight bits deep; what is transparent becomes white."""
    if image.mode.startswith("I"):  # Pillow would cut deeper pixels off at 255 rather than scale them
        deep = np.clip(np.asarray(image, dtype=np.float32), 0, 65535)
        image = Image.fromarray(np.rint(deep / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, _WHITE), image)
    mode = "L" if channels == 1 else "RGB"
    return image if image.mode == mode else image.convert(mode)


def fitted(image: Image.Image, channels: int, size: int | None) -> Pixels:
    """Pixels (height, width, channels) of an image, cut and scaled to a square where a size is given."""
    if size is not None and image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
    return np.asarray(image, dtype=np.uint8).reshape(image.height, image.width, channels)


@contextmanager
def _opened(raw: bytes, what: str, limits: UploadLimits) -> Iterator[Image.Image]:
    image = _open(raw, what, limits)
    with image:
        if image.width * image.height > limits.megapixels * 1e6:
            raise _too_large(what, f"is {image.width}x{image.height}", limits)
        if image.format == "JPEG" and raw.count(_SCAN) > limits.scans:  # each goes over all pixels, however short it is
            raise UploadError(
                "too_large", f"{what} has {raw.count(_SCAN)} scans; at most {limits.scans} are taken: save it anew"
            )
        with refusing(f"{what} cannot be decoded, it may be truncated"):
            moving = image.format in _MOVING and getattr(image, "is_animated", False)
        if moving:
            raise UploadError("invalid", f"{what} is animated ({image.format}); send single frames")
        yield image


def _open(raw: bytes, what: str, limits: UploadLimits) -> Image.Image:
    try:
        return Image.open(io.BytesIO(raw), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(what, "is far larger than any screen", limits) from error
    except Exception as error:  # Pillow's readers let through whatever a broken header makes them raise
        kind = kind_of(raw[:8])
        if kind and not kind.startswith("a single"):
            message = f"{what} is {kind}; archives within archives and other files are not taken, only images"
        else:
            message = f"{what} is no image of the kinds that are read ({', '.join(FORMATS)}), or damaged; leave it out"
        raise UploadError("invalid", message) from error


def _too_large(what: str, found: str, limits: UploadLimits) -> UploadError:
    return UploadError("too_large", f"{what} {found}; at most {limits.megapixels:g} megapixels are taken")
