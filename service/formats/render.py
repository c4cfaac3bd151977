"""Drawn images to the bytes of an answer, in any of the formats."""

import io
import zipfile
from binascii import b2a_base64
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from service.formats.animation import encode_animation
from service.formats.arrays import write_npy
from service.formats.negotiation import APNG, GIF, JSON, NPY, RAW, WEBP, ZIP
from service.formats.png import encode_png
from service.formats.stills import encode_still, near_square, tile

_ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the earliest that the format knows: the same images give the same bytes


@dataclass(frozen=True)
class Options:
    """What a client may say about files, in the query of any request.

    Attributes:
        quality: 1 to 100 for JPEG and WebP; left out, JPEG has 90 and WebP is lossless.
        fps: Frames a second of animations.
    """

    quality: int | None = None
    fps: float = 20.0


class Identity(NamedTuple):
    """The model as every answer names it: which weights, and what ran them."""

    name: str
    version: int
    digest: str
    runtime: str
    provider: str


@dataclass(slots=True)
class Drawing:
    """Images and what is to be said about them.

    Attributes:
        model: What drew them.
        pixels: uint8, shape (n, h, w, c).
        seed, start: Where the images come from; None where there is no seed.
        latents: Codes (n, latent_dim), if asked for.
        metrics: One mapping per image, if asked for.
        motion: The images are frames in order: PNG and JPEG show a strip, WebP is animated.
    """

    model: Identity
    pixels: NDArray[np.uint8]
    seed: int | None = None
    start: int = 0
    latents: NDArray[np.float32] | None = None
    metrics: list[dict[str, float]] | None = None
    motion: bool = False


def render(drawing: Drawing, media_type: str, options: Options) -> bytes:
    """The body of the answer in one of `IMAGE_FORMATS`."""
    pixels = drawing.pixels
    if media_type == JSON:
        return _json(drawing)
    if media_type == NPY:
        return write_npy(pixels)
    if media_type == RAW:
        return np.ascontiguousarray(pixels).tobytes()
    if media_type == ZIP:
        return _archive(drawing)
    if media_type in (GIF, APNG) or (media_type == WEBP and drawing.motion):
        return encode_animation(pixels, media_type, options.fps, options.quality)
    columns = len(pixels) if drawing.motion else near_square(len(pixels))
    return encode_still(tile(pixels, columns), media_type, options.quality)


def head(drawing: Drawing, media_type: str) -> bytes:
    """Where the images come from, as lines of headers: for formats that have no room for it."""
    lines = model_head(drawing.model)
    if drawing.seed is not None:
        lines += b"x-seed: %d\r\nx-start: %d\r\n" % (drawing.seed, drawing.start)
    if media_type == RAW:
        lines += b"x-shape: %d,%d,%d,%d\r\nx-dtype: uint8\r\n" % drawing.pixels.shape
    return lines


@lru_cache(maxsize=256)
def model_head(model: Identity) -> bytes:
    """The model of an answer, as lines of headers."""
    return (
        f"x-model: {model.name}@{model.version}\r\n"
        f"x-model-digest: {model.digest}\r\n"
        f"x-runtime: {model.runtime}\r\n"
        f"x-provider: {model.provider}\r\n"
        "vary: accept\r\n"
    ).encode()


def _entries(drawing: Drawing) -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = [{"index": drawing.start + i} for i in range(len(drawing.pixels))]
    if drawing.latents is not None:
        for entry, latent in zip(entries, drawing.latents, strict=True):
            entry["latent"] = latent
    if drawing.metrics is not None:
        for entry, metrics in zip(entries, drawing.metrics, strict=True):
            entry["metrics"] = metrics
    return entries


def _answer(drawing: Drawing, entries: list[dict[str, Any]]) -> bytes:
    answer = {"model": drawing.model._asdict(), "seed": drawing.seed, "images": entries}
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def _json(drawing: Drawing) -> bytes:
    entries = _entries(drawing)
    for entry, image in zip(entries, drawing.pixels, strict=True):
        entry["png"] = b2a_base64(encode_png(image), newline=False).decode("ascii")
    return _answer(drawing, entries)


def _archive(drawing: Drawing) -> bytes:
    """One PNG per image, named by its index, and `metadata.json`: the JSON answer with file names for the images."""
    entries = _entries(drawing)
    digits = max(4, len(str(drawing.start + len(entries) - 1)))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for entry, image in zip(entries, drawing.pixels, strict=True):
            entry["file"] = f"{entry['index']:0{digits}d}.png"
            archive.writestr(zipfile.ZipInfo(entry["file"], _ZIP_DATE), encode_png(image))
        archive.writestr(zipfile.ZipInfo("metadata.json", _ZIP_DATE), _answer(drawing, entries))
    return file.getvalue()
