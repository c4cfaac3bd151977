"""What every source of data gives: images in memory as uint8, split into train and test."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

MIN_SIDE, MAX_SIDE = 8, 1024


@dataclass(frozen=True)
class ImageSet:
    """Images of one split.

    Attributes:
        images: uint8, shape (n, height, width, channels).
        labels: int64, shape (n,); None where there are none.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        _, height, width, channels = self.images.shape
        return channels, height, width


@dataclass(frozen=True)
class Dataset:
    """A named set of images; `sha256` stands for all of its content."""

    name: str
    sha256: str
    train: ImageSet
    test: ImageSet
    label_names: tuple[str, ...] | None
    licence: str
    attribution: str


def checked(images: NDArray[np.generic], where: str) -> NDArray[np.uint8]:
    """Images as uint8 (n, height, width, channels), or a clear refusal.

    Args:
        images: (n, height, width) or (n, height, width, channels), uint8.
        where: What to call them in an error.

    Raises:
        DataError: If type, shape, count or size is not usable.
    """
    if images.dtype != np.uint8:
        raise DataError(f"{where}: images are {images.dtype}; expected uint8 from 0 to 255")
    if images.ndim == 3:
        images = images[..., None]
    if images.ndim != 4 or images.shape[3] not in (1, 3):
        raise DataError(
            f"{where}: images have shape {images.shape}; expected (n, height, width) or (n, height, width, 1 | 3)"
        )
    if not len(images):
        raise DataError(f"{where}: there are no images")
    sides = images.shape[1:3]
    if min(sides) < MIN_SIDE or max(sides) > MAX_SIDE:
        raise DataError(
            f"{where}: images are {sides[1]}x{sides[0]}; expected sides from {MIN_SIDE} to {MAX_SIDE} pixels"
        )
    return np.ascontiguousarray(images, dtype=np.uint8)


def checked_labels(labels: NDArray[np.generic], n: int, where: str) -> NDArray[np.int64]:
    """Labels as int64 (n,).

    Raises:
        DataError: If they are no whole numbers ≥ 0, or not one for each image.
    """
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise DataError(f"{where}: labels are {labels.dtype}{labels.shape}; expected whole numbers of shape ({n},)")
    if n and int(labels.min()) < 0:
        raise DataError(f"{where}: the smallest label is {labels.min()}; expected 0 or more")
    return labels.astype(np.int64)


def content_sha256(*sets: ImageSet) -> str:
    """Hash of shapes, pixels and labels, in order."""
    digest = hashlib.sha256()
    for part in sets:
        digest.update(repr((part.images.shape, part.labels is not None)).encode())
        digest.update(part.images.tobytes())
        if part.labels is not None:
            digest.update(part.labels.tobytes())
    return digest.hexdigest()


def split_by_hash(keys: list[bytes], test_share: float) -> NDArray[np.bool_]:
    """True where an item belongs to the test split: decided by its key alone, so that a set may grow.

    Equal keys (doubles, variants of one thing) land on the same side.
    """
    heads = [int.from_bytes(hashlib.sha256(key).digest()[:8], "little") for key in keys]
    return np.array([head / 2**64 < test_share for head in heads], dtype=np.bool_)
