"""Frames one after the other: GIF, animated PNG and animated WebP. They play for ever."""

import io

import numpy as np
from numpy.typing import NDArray

from service.formats.negotiation import APNG, GIF
from service.formats.stills import to_pillow, webp_options


def encode_animation(frames: NDArray[np.uint8], media_type: str, fps: float, quality: int | None) -> bytes:
    """Frames (n, h, w, c) as one file.

    GIF has 256 colours a frame, so only grey images survive it unchanged; animated PNG is lossless, and WebP is unless
    a quality is given. A frame that repeats the one before it lengthens that one instead.

    Args:
        frames: uint8, at least one.
        media_type: image/gif, image/apng or image/webp.
        fps: Frames a second.
        quality: 1 to 100, for WebP.
    """
    first, *rest = (to_pillow(frame) for frame in frames)
    file = io.BytesIO()
    milliseconds = round(1000 / fps)
    if media_type == GIF:
        first.save(file, "GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0)
    elif media_type == APNG:
        first.save(file, "PNG", save_all=True, append_images=rest, duration=milliseconds, loop=0, compress_level=1)
    else:
        options = webp_options(quality)
        first.save(file, "WEBP", save_all=True, append_images=rest, duration=milliseconds, loop=0, **options)
    return file.getvalue()
