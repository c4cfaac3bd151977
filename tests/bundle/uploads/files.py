"""Images, archives and arrays for the tests, honest and hostile."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from bundle.uploads.errors import UploadError
from bundle.uploads.limits import UploadLimits, Wanted
from bundle.uploads.record import read_upload
from bundle.uploads.store import UploadStore

Pixels = NDArray[np.uint8]


def pixels(seed: int = 0, height: int = 12, width: int = 12, channels: int = 3) -> Pixels:
    """Random pixels (h, w, c)."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def image(array: Pixels | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """An image file."""
    if isinstance(array, np.ndarray):
        array = Image.fromarray(array[..., 0] if array.shape[2] == 1 else array)
    buffer = io.BytesIO()
    array.save(buffer, kind, **options)
    return buffer.getvalue()


def png(seed: int = 0, **shape: int) -> bytes:
    """A PNG of random pixels."""
    return image(pixels(seed, **shape))


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, *before: bytes, data: bytes = b"") -> bytes:
    """A PNG whose header says its size, with any chunks, and whatever data."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(before) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def zipped(files: Iterable[tuple[str | zipfile.ZipInfo, bytes]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files:
            archive.writestr(name, content, method)
    return buffer.getvalue()


def with_image(name: str | zipfile.ZipInfo, content: bytes | None = None) -> bytes:
    """A zip with two honest images and another file."""
    return zipped([("1.png", png(1)), ("2.png", png(2)), (name, png(3) if content is None else content)])


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    """An entry of a kind (`stat.S_IFLNK` and so on)."""
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def npz(compressed: bool = False, **arrays: Any) -> bytes:
    """An `.npz`."""
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def npy_header(text: str, version: tuple[int, int] = (1, 0)) -> bytes:
    """The head of an `.npy`, whatever it says."""
    length = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return b"\x93NUMPY" + bytes(version) + length + text.encode()


def pieces(content: bytes, size: int = 1000) -> Iterator[bytes]:
    """As a network would bring it."""
    for start in range(0, len(content), size):
        yield content[start : start + size]


def receive(root: Path, content: bytes, limits: UploadLimits | None = None, **wanted: int) -> tuple[Pixels, Any, Any]:
    """Images, labels and record of what was received and read back."""
    upload = UploadStore(root, limits).receive(pieces(content), Wanted(**wanted))
    record, images, labels = read_upload(root, upload.id)
    assert record == upload
    return images, labels, record


def refused(root: Path, content: bytes, limits: UploadLimits | None = None, **wanted: int) -> UploadError:
    """The refusal, after which nothing is left."""
    with pytest.raises(UploadError) as caught:
        UploadStore(root, limits).receive(pieces(content), Wanted(**wanted))
    assert leftovers(root) == []
    assert str(caught.value) == caught.value.message
    return caught.value


def leftovers(root: Path) -> list[Path]:
    """All files but the lock."""
    return [path for path in root.rglob("*") if path.name not in (".lock", ".incoming")]
