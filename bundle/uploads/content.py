"""The one form in which sets are kept: `images.npz` with `images` (uint8 NHWC) and, where there are any, `labels`."""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bundle.uploads.limits import Patience

Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Plan:
    """What a set will be, known before its pixels are decoded.

    Attributes:
        shape: (n, height, width, channels).
        labels: int64 (n,), or None.
        label_names: Of the classes, where there are labels.
        train: So many images from the first on are for training, the rest for testing; None where nobody said.
    """

    shape: tuple[int, int, int, int]
    labels: Labels | None = None
    label_names: tuple[str, ...] | None = None
    train: int | None = None

    @property
    def pixel_bytes(self) -> int:
        """Of all images, as they are kept."""
        n, height, width, channels = self.shape
        return n * height * width * channels


class ContentHash:
    """sha256 of all that a set says; equal sets have equal ids, however they were packed."""

    def __init__(self, plan: Plan) -> None:
        head = {"shape": plan.shape, "label_names": plan.label_names, "train": plan.train}
        self._sha256 = hashlib.sha256(json.dumps(head, sort_keys=True).encode() + b"\n")
        self._labels = plan.labels

    def add(self, pixels: Pixels) -> None:
        """The next images, in order."""
        self._sha256.update(np.ascontiguousarray(pixels).data)

    def id(self) -> str:
        """64 hex digits, after the last image."""
        if self._labels is not None:
            self._sha256.update(np.ascontiguousarray(self._labels, dtype="<i8").data)
        return self._sha256.hexdigest()


def write_set(path: Path, plan: Plan, blocks: Iterator[Pixels], patience: Patience) -> str:
    """Write a set, block by block, and wait until it has reached the disk.

    Args:
        path: Of the `.npz`, written anew.
        plan: What the blocks add up to.
        blocks: Images (k, height, width, channels), in order.
        patience: Checked at every block.

    Returns:
        Its id.
    """
    content = ContentHash(plan)
    with path.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            with archive.open(zipfile.ZipInfo("images.npy"), "w", force_zip64=True) as member:
                _write_header(member, "|u1", plan.shape)
                for block in blocks:
                    patience.check()
                    content.add(block)
                    member.write(np.ascontiguousarray(block).data)
            if plan.labels is not None:
                with archive.open(zipfile.ZipInfo("labels.npy"), "w") as member:
                    _write_header(member, "<i8", plan.labels.shape)
                    member.write(plan.labels.astype("<i8").tobytes())
        file.flush()
        os.fsync(file.fileno())
    return content.id()


def _write_header(file: IO[bytes], kind: str, shape: Sequence[int]) -> None:
    head: dict[str, Any] = {"descr": kind, "fortran_order": False, "shape": tuple(shape)}
    np.lib.format.write_array_header_1_0(file, head)
