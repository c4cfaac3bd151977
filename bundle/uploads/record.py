"""`upload.json`: what is kept about a set, beside its `images.npz`."""

import re
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bundle.hashing import SHA256
from bundle.uploads.content import ContentHash, Plan
from bundle.uploads.errors import UploadError

IMAGES, RECORD = "images.npz", "upload.json"
Pixels = NDArray[np.uint8]
Labels = NDArray[np.int64]


class Upload(BaseModel):
    """A set that was received.

    Attributes:
        id: sha256 of what it says: shape, pixels, labels and their names.
        images: How many.
        height, width, channels: Of each, in pixels.
        labels: Names of the classes; None where the images have none.
        train: So many images from the first on are for training, the rest for testing; None where nobody said.
        bytes: On the disk.
        source: What was sent.
        created: When it was first received.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    id: str = Field(pattern=SHA256)
    images: int = Field(ge=1)
    height: int = Field(ge=1)
    width: int = Field(ge=1)
    channels: Literal[1, 3]
    labels: tuple[Annotated[str, Field(max_length=1024)], ...] | None = None
    train: int | None = Field(None, ge=1)
    bytes: int = Field(ge=1)
    source: Literal["zip", "npz"]
    created: datetime

    @model_validator(mode="after")
    def _some_to_test(self) -> Self:
        if self.train is not None and self.train >= self.images:
            raise ValueError(f"train is {self.train} of {self.images} images; some must be left to test with")
        return self


def find_upload(root: Path, upload: str) -> Upload:
    """The record of a set.

    Args:
        root: Folder of the sets.
        upload: Its id.

    Raises:
        UploadError: If there is none, or its record cannot be read.
    """
    path = folder_of(root, upload) / RECORD
    try:
        return Upload.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise _unknown(upload) from error
    except (OSError, ValidationError) as error:
        raise UploadError(
            "damaged", f"the record of upload {upload} cannot be read; delete it and send it again"
        ) from error


def read_upload(root: Path, upload: str) -> tuple[Upload, Pixels, Labels | None]:
    """A set in memory, held against its id.

    Returns:
        Its record, its images (n, height, width, channels), and its labels (n,) where it has some.

    Raises:
        UploadError: If there is none, or what is there is not what was received.
    """
    found = find_upload(root, upload)
    path = folder_of(root, upload) / IMAGES
    try:
        with np.load(path, allow_pickle=False) as archive:
            images, labels = archive["images"], archive["labels"] if found.labels is not None else None
    except Exception as error:  # zipfile, zlib and numpy have many errors for damaged bytes, and no common base
        raise UploadError("damaged", f"{path} cannot be read ({error}); delete the set and send it again") from error
    content = ContentHash(Plan(images.shape, labels, found.labels, found.train))
    content.add(images)
    if content.id() != upload:
        raise UploadError("damaged", f"{path} is not what was received as {upload}; delete the set and send it again")
    return found, images, labels


def folder_of(root: Path, upload: str) -> Path:
    """Where a set is kept.

    Raises:
        UploadError: If it is no id; so none can lead elsewhere.
    """
    if not re.fullmatch(SHA256[1:-1], upload):
        raise _unknown(upload)
    return root / upload


def _unknown(upload: str) -> UploadError:
    return UploadError("unknown", f"there is no uploaded set {upload[:70]!a}; GET /training/data lists those there are")
