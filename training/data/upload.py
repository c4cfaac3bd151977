"""A set that was uploaded to the service, by its id."""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bundle.uploads.errors import UploadError
from bundle.uploads.record import read_upload
from training.data.dataset import Dataset, ImageSet, checked, checked_labels, content_sha256, split_by_hash
from training.errors import DataError

Mask = NDArray[np.bool_]


def uploads_folder() -> Path:
    """Where uploaded sets are kept: `GENSERVE_UPLOADS`, or `data/uploads`."""
    return Path(os.environ.get("GENSERVE_UPLOADS") or Path("data", "uploads"))


def load(root: Path, upload: str, test_share: float, licence: str, attribution: str) -> Dataset:
    """An uploaded set, held against its id.

    Args:
        root: Folder of the uploaded sets.
        upload: Id of the set.
        test_share: Share of the test split, decided by each image's content, where the upload did not say, 0 to 1.
        licence, attribution: Of the data, for the manifest.

    Raises:
        DataError: If it is missing, or not what was received.
    """
    try:
        record, images, labels = read_upload(root, upload)
    except UploadError as error:
        raise DataError(f"{error} (looked for in {root}; GENSERVE_UPLOADS names another folder)") from error
    where = f"upload {upload}"
    pixels = checked(images, where)
    classes = None if labels is None else checked_labels(labels, len(pixels), where)
    in_test = _later(len(pixels), record.train) if record.train is not None else _hashed(pixels, test_share)
    train, test = (ImageSet(pixels[side], None if classes is None else classes[side]) for side in (~in_test, in_test))
    name = f"upload-{upload[:12]}"
    return Dataset(name, content_sha256(train, test), train, test, record.labels, licence, attribution)


def _later(n: int, train: int) -> Mask:
    return np.arange(n) >= train


def _hashed(pixels: NDArray[np.uint8], test_share: float) -> Mask:
    in_test = split_by_hash([image.tobytes() for image in pixels], test_share)
    if in_test.all() or not in_test.any():  # a small set may fall all on one side: take one image across
        in_test[-1] = not in_test[-1]
    return in_test
