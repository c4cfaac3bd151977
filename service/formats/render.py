"""Drawn images to the bytes of an answer, in any of the formats."""

import io
import zipfile
from binascii import b2a_base64
from dataclasses import dataclass
from typing import Any

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


@dataclass(frozen=True)
class Drawing:
    """Images and what is to be said about them.

    Attributes:
        model: name, version and digest.
        pixels: uint8, shape (n, h, w, c).
        seed, start: Where the images come from; None where there is no seed.
        latents: Codes (n, latent_dim), if asked for.
        metrics: One mapping per image, if asked for.
        motion: The images are frames in order: PNG and JPEG show a strip, WebP is animated.
    """

    model: dict[str, Any]
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


def headers(drawing: Drawing, media_type: str) -> dict[str, str]:
    """Where the images come from, for formats that have no room for it."""
    found = model_headers(drawing.model)
    if drawing.seed is not None:
        found |= {"x-seed": str(drawing.seed), "x-start": str(drawing.start)}
    if media_type == RAW:
        found |= {"x-shape": ",".join(map(str, drawing.pixels.shape)), "x-dtype": "uint8"}
    return found


def model_headers(model: dict[str, Any]) -> dict[str, str]:
    """The model of an answer, as headers."""
    return {"x-model": f"{model['name']}@{model['version']}", "x-model-digest": model["digest"], "vary": "accept"}


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
    answer = {"model": drawing.model, "seed": drawing.seed, "images": entries}
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
