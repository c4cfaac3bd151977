"""What an upload may cost, and what its sender may ask for."""

import threading
import time
from dataclasses import dataclass, field

from bundle.uploads.errors import UploadError

MIN_SIDE, MAX_SIDE = 8, 1024


@dataclass(frozen=True)
class UploadLimits:
    """Of one upload, but for the last four, which are of the store.

    Attributes:
        body_bytes: As it is sent.
        unpacked_bytes: Of all files in the archive, as they unpack.
        set_bytes: Of the images as they are kept, uint8.
        entries: Files and folders in the archive.
        directory_bytes: Of the archive's table of contents, which is held in memory.
        ratio: Unpacked bytes to packed ones; deflate itself ends near 1000.
        image_bytes: Of one image file, which is held in memory.
        megapixels: Of one image as it is sent.
        all_megapixels: Of all images as they are sent, each of which has to be decoded.
        scans: Passes of one progressive JPEG over its pixels.
        classes: Different labels.
        work_s: Seconds to read, decode and write it all once it has arrived.
        quota_bytes: Of all sets together.
        sets: How many; small ones would else use up what a disk has beside bytes.
        reserve_bytes: Of the disk, left free for others.
        fresh_s: Seconds for which a set that was just received or asked for is not evicted.
    """

    body_bytes: int = 1 << 30
    unpacked_bytes: int = 4 << 30
    set_bytes: int = 2 << 30
    entries: int = 100_000
    directory_bytes: int = 16 << 20
    ratio: float = 200.0
    image_bytes: int = 32 << 20
    megapixels: float = 16.0
    all_megapixels: float = 8192.0
    scans: int = 64
    classes: int = 1000
    work_s: float = 600.0
    quota_bytes: int = 20 << 30
    sets: int = 1000
    reserve_bytes: int = 512 << 20
    fresh_s: float = 300.0


@dataclass(frozen=True)
class Wanted:
    """What the sender asks for.

    Attributes:
        size: Side in pixels: the middle square is cut out and scaled. None: images stay as they are, of one size.
        channels: 1 (grey) or 3 (colour). None: as the images are, all of one kind.
    """

    size: int | None = None
    channels: int | None = None


@dataclass
class Patience:
    """Ends work that takes too long, or that nobody waits for any more."""

    seconds: float
    left: threading.Event = field(default_factory=threading.Event)
    _end: float | None = None

    def check(self) -> None:
        """Call it often; the first call starts the clock.

        Raises:
            UploadError: "slow" or "left".
        """
        if self._end is None:
            self._end = time.monotonic() + self.seconds
        if self.left.is_set():
            raise UploadError("left", "whoever sent the upload is gone")
        if time.monotonic() > self._end:
            raise UploadError(
                "slow", f"the images took more than {self.seconds:g} s to read; send fewer or smaller ones at once"
            )
