"""Which of the formats that an endpoint can write a client wants: `Accept` as RFC 9110, section 12.5.1, has it."""

from collections.abc import Sequence
from functools import lru_cache

from service.errors import NotAcceptableError

JSON = "application/json"
PNG = "image/png"
JPEG = "image/jpeg"
WEBP = "image/webp"
GIF = "image/gif"
APNG = "image/apng"
ZIP = "application/zip"
NPY = "application/x-npy"
RAW = "application/octet-stream"

IMAGE_FORMATS = (JSON, PNG, JPEG, WEBP, GIF, APNG, ZIP, NPY, RAW)
LATENT_FORMATS = (JSON, NPY)


def negotiate(accept: str | None, offered: Sequence[str]) -> str:
    """The best of the offered media types.

    Args:
        accept: The request's `Accept`; None or empty means anything.
        offered: Media types in order of the service's preference, which decides between equals.

    Raises:
        NotAcceptableError: If the client wants none of them; the message lists what there is.
    """
    chosen = _choose((accept or "*/*")[:2000], tuple(offered))
    if chosen is None:
        raise NotAcceptableError(
            f"Accept is {accept!r}; this endpoint can answer with: {', '.join(offered)}", offered=list(offered)
        )
    return chosen


@lru_cache(maxsize=256)
def _choose(accept: str, offered: tuple[str, ...]) -> str | None:
    ranges = [parsed for part in accept.split(",") if (parsed := _media_range(part))]
    if not ranges:
        return offered[0] if not accept.strip() else None
    qualities = [_quality(media_type, ranges) for media_type in offered]
    best = max(qualities)
    return offered[qualities.index(best)] if best > 0 else None


def _quality(media_type: str, ranges: list[tuple[str, float]]) -> float:
    """The q of the most specific range that matches, which is how `image/*, image/gif;q=0` rules GIF out."""
    by_range = dict(ranges)
    for candidate in (media_type, media_type.split("/")[0] + "/*", "*/*"):
        if candidate in by_range:
            return by_range[candidate]
    return 0.0


def _media_range(part: str) -> tuple[str, float] | None:
    media_type, *parameters = (piece.strip().lower() for piece in part.split(";"))
    if media_type.count("/") != 1:
        return None
    quality = next((p.partition("=")[2] for p in parameters if p.partition("=")[0].strip() == "q"), "1")
    try:
        q = float(quality)
    except ValueError:
        return None
    return (media_type, q) if 0 <= q <= 1 else None
