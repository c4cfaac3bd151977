"""An `.npz` of strangers as a set: headers are held against the bytes there are, and nothing is unpickled.

Taken are `images` with or without `labels`; `x_train` and `x_test` with or without `y_train` and `y_test`; and a single
array of any name.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bundle.uploads.archive import Archive, refusing
from bundle.uploads.content import Labels, Pixels, Plan
from bundle.uploads.errors import UploadError
from bundle.uploads.limits import Patience, UploadLimits, Wanted
from bundle.uploads.names import shown
from bundle.uploads.pictures import fitted, opaque
from bundle.uploads.zipped import check_plan, side_and_side

_BLOCK_BYTES = 1 << 20
_LABEL_BYTES = 16 << 20
_EXAMPLE = "np.savez('set.npz', images=images, labels=labels)"


@dataclass(frozen=True)
class Arrays:
    """Which entries of an archive are what: images and labels in the order in which they follow one another."""

    images: tuple[str, ...]
    labels: tuple[str, ...]
    has_split: bool


@dataclass(frozen=True)
class _Header:
    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]


def is_npz(archive: Archive) -> bool:
    """Whether an archive is meant as an `.npz`; what its entries really are is seen when they are read."""
    return any(name.endswith(".npy") for name in archive.names)


def plan_npz(archive: Archive, wanted: Wanted, limits: UploadLimits) -> tuple[Arrays, Plan]:
    """What the arrays of an archive come to.

    Raises:
        UploadError: If there are none that are images, or they are of a type or shape that cannot be used.
    """
    arrays = _find(archive)
    heads = [_image_header(archive, name) for name in arrays.images]
    shapes = [(head.shape if len(head.shape) == 4 else (*head.shape, 1)) for head in heads]
    if len({shape[1:] for shape in shapes}) > 1:
        raise UploadError(
            "invalid", f"x_train has shape {shapes[0]} and x_test {shapes[1]}; expected images of one size"
        )
    counts = [shape[0] for shape in shapes]
    _, height, width, channels = shapes[0]
    if height * width > limits.megapixels * 1e6:
        raise UploadError(
            "too_large", f"the images are {width}x{height}; at most {limits.megapixels:g} megapixels each are taken"
        )
    height, width = side_and_side(Counter({(width, height): sum(counts)}), wanted)
    labels, names = _labels(archive, arrays, counts, limits)
    train = counts[0] if arrays.has_split else None
    plan = Plan((sum(counts), height, width, wanted.channels or channels), labels, names, train)
    check_plan(plan, limits)
    return arrays, plan


def npz_blocks(archive: Archive, arrays: Arrays, plan: Plan, wanted: Wanted, patience: Patience) -> Iterator[Pixels]:
    """The images in blocks (k, height, width, channels).

    Raises:
        UploadError: If the archive is damaged.
    """
    for name in arrays.images:
        with archive.open(name) as file:
            head = _read_header(file, name)
            n, height, width, *rest = head.shape
            given = (height, width, rest[0] if rest else 1)
            at_once = max(1, _BLOCK_BYTES // prod(given))
            for start in range(0, n, at_once):
                patience.check()
                block = np.frombuffer(_exactly(file, min(at_once, n - start) * prod(given), name), np.uint8)
                images = block.reshape(-1, *given)
                yield images if given == plan.shape[1:] else _converted(images, plan, wanted)


def _find(archive: Archive) -> Arrays:
    wrong = [name for name in archive.names if not name.endswith(".npy") or "/" in name]
    if wrong:
        raise UploadError(
            "invalid",
            f"the archive has arrays (.npy), and beside them {shown(wrong[0])}; send images or arrays, not both",
        )
    names = {name.removesuffix(".npy") for name in archive.names}
    if names in ({"x_train", "x_test"}, {"x_train", "x_test", "y_train", "y_test"}):
        labels = ("y_train.npy", "y_test.npy") if "y_train" in names else ()
        return Arrays(("x_train.npy", "x_test.npy"), labels, has_split=True)
    if names in ({"images"}, {"images", "labels"}):
        return Arrays(("images.npy",), ("labels.npy",) if "labels" in names else (), has_split=False)
    if len(names) == 1:
        return Arrays((archive.names[0],), (), has_split=False)
    listed = ", ".join(shown(name) for name in sorted(names)[:8])
    raise UploadError(
        "invalid",
        f"the .npz has the arrays {listed}; expected images (and labels), or x_train and x_test (and y_train and "
        f"y_test), and nothing else: {_EXAMPLE}",
    )


def _image_header(archive: Archive, name: str) -> _Header:
    head = _header(archive, name)
    if head.dtype != np.uint8:
        raise UploadError(
            "invalid",
            f"{shown(name)} is {head.dtype}; expected uint8 from 0 to 255, such as (x * 255).round().astype('uint8')",
        )
    shape = head.shape
    if len(shape) == 4 and shape[3] not in (1, 3) and shape[1] in (1, 3):
        raise UploadError(
            "invalid", f"{shown(name)} has shape {shape}, channels first; expected them last: x.transpose(0, 2, 3, 1)"
        )
    if len(shape) not in (3, 4) or 0 in shape or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise UploadError(
            "invalid", f"{shown(name)} has shape {shape}; expected (n, height, width) or (n, height, width, 1 or 3)"
        )
    return head


def _header(archive: Archive, name: str) -> _Header:
    with archive.open(name) as file:
        counted = _Counted(file)
        head = _read_header(counted, name)
    expected = prod(head.shape) * head.dtype.itemsize
    there = archive.size(name) - counted.taken
    if expected != there:
        raise UploadError(
            "invalid", f"{shown(name)} says it is {head.dtype}{head.shape}, {expected} bytes; there are {there}"
        )
    return head


def _read_header(file: "IO[bytes] | _Counted", name: str) -> _Header:
    with refusing(f"{shown(name)} is no .npy array"):
        version = np.lib.format.read_magic(file)  # type: ignore[arg-type]
        if version != (1, 0):  # others are for headers beyond 64 KB, and declare up to 4 GB
            raise UploadError(
                "invalid", f"{shown(name)} is of .npy version {version}; expected 1.0, as plain arrays have it"
            )
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)  # type: ignore[arg-type]
    if dtype.hasobject:
        raise UploadError(
            "invalid", f"{shown(name)} holds Python objects, which are never unpickled here; expected uint8"
        )
    if any(type(side) is not int or side < 0 for side in shape):
        raise UploadError("invalid", f"{shown(name)} has shape {shape}; expected whole numbers, none below 0")
    if fortran_order and len(shape) > 1:
        raise UploadError("invalid", f"{shown(name)} is in Fortran order; save np.ascontiguousarray of it")
    return _Header(shape, dtype)


class _Counted:
    """A file that knows how many bytes were taken from it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.taken = 0

    def read(self, size: int) -> bytes:
        content = self._file.read(size)
        self.taken += len(content)
        return content


def _labels(
    archive: Archive, arrays: Arrays, counts: list[int], limits: UploadLimits
) -> tuple[Labels | None, tuple[str, ...] | None]:
    if not arrays.labels:
        return None, None
    found = [_read_labels(archive, name, n) for name, n in zip(arrays.labels, counts, strict=True)]
    labels = np.concatenate(found)
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= limits.classes:
        raise UploadError("invalid", f"labels go from {low} to {high}; expected 0 to {limits.classes - 1} at most")
    return labels.astype(np.int64), tuple(str(i) for i in range(high + 1))


def _read_labels(archive: Archive, name: str, n: int) -> NDArray[np.generic]:
    head = _header(archive, name)
    if head.shape != (n,) or head.dtype.kind not in "iu":
        raise UploadError(
            "invalid", f"{shown(name)} is {head.dtype}{head.shape}; expected whole numbers of shape ({n},)"
        )
    if archive.size(name) > _LABEL_BYTES:
        raise UploadError(
            "too_large", f"{shown(name)} has {archive.size(name)} bytes; at most {_LABEL_BYTES} are taken"
        )
    with archive.open(name) as file:
        head = _read_header(file, name)
        return np.frombuffer(_exactly(file, n * head.dtype.itemsize, name), head.dtype)


def _exactly(file: IO[bytes], size: int, name: str) -> bytes:
    content = file.read(size)
    if len(content) != size:
        raise UploadError("invalid", f"{shown(name)} ends early: {len(content)} bytes where {size} were declared")
    return content


def _converted(images: Pixels, plan: Plan, wanted: Wanted) -> Pixels:
    channels = plan.shape[3]
    pictures = (Image.fromarray(image[..., 0] if image.shape[2] == 1 else image) for image in images)
    return np.stack([fitted(opaque(picture, channels), channels, wanted.size) for picture in pictures])
