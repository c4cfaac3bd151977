"""An `.npz` with `x_train`/`x_test` (and `y_train`/`y_test`), or with `images` and a JSON of records beside it."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Dataset, ImageSet, checked, checked_labels, content_sha256, split_by_hash
from training.errors import DataError


def read_arrays(path: Path, keys: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Arrays of an `.npz` by name.

    Raises:
        DataError: If the file cannot be read or an array is missing.
    """
    with _opened(path) as archive:
        missing = [key for key in keys if key not in archive.files]
        if missing:
            raise DataError(f"{path} lacks the arrays {missing}; it has {archive.files}")
        return {key: archive[key] for key in keys}


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            if isinstance(archive, np.ndarray):
                raise ValueError("it holds a single array, as an .npy")
            yield archive
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and numpy have many errors for damaged bytes, and no common base
        raise DataError(f"{path} cannot be read as an .npz of arrays: {error}") from error


def load(
    path: Path,
    labels: str | None,
    split_by: str | None,
    test_share: float,
    licence: str,
    attribution: str,
) -> Dataset:
    """The set in an `.npz`.

    Args:
        path: The file. With `x_train` and `x_test` its split is kept; with `images` it is split by hash.
        labels: Attribute of the JSON records (`images` only) that gives the class, or several joined by "+", whose
            combinations are the classes; None for no labels.
        split_by: Attribute that decides the split, so that variants of one thing stay together; None: the pixels.
        test_share: Share of the test split where there is none, 0 to 1.
        licence, attribution: Of the data, for the manifest.

    Raises:
        DataError: If the file, its arrays or its records cannot be used.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    with _opened(path) as archive:
        has_split = "x_train" in archive.files
    if has_split:
        train, test, names = _given_split(path)
    else:
        train, test, names = _hashed_split(path, labels, split_by, test_share)
    return Dataset(path.stem, content_sha256(train, test), train, test, names, licence, attribution)


def _given_split(path: Path) -> tuple[ImageSet, ImageSet, tuple[str, ...] | None]:
    with _opened(path) as archive:
        labelled = "y_train" in archive.files
    keys = ("x_train", "x_test", "y_train", "y_test") if labelled else ("x_train", "x_test")
    arrays = read_arrays(path, keys)
    sets = []
    for split in ("train", "test"):
        images = checked(arrays[f"x_{split}"], f"{path}[x_{split}]")
        y = checked_labels(arrays[f"y_{split}"], len(images), f"{path}[y_{split}]") if labelled else None
        sets.append(ImageSet(images, y))
    train, test = sets
    if train.shape != test.shape:
        raise DataError(f"{path}: train images are {train.shape}, test images {test.shape} (channels, height, width)")
    names = None
    if train.labels is not None and test.labels is not None:
        names = tuple(str(i) for i in range(1 + max(int(train.labels.max()), int(test.labels.max()))))
    return train, test, names


def _hashed_split(
    path: Path, labels: str | None, split_by: str | None, test_share: float
) -> tuple[ImageSet, ImageSet, tuple[str, ...] | None]:
    images = checked(read_arrays(path, ("images",))["images"], f"{path}[images]")
    classes, names = None, None
    if labels:
        columns = [_attribute(path, attribute, len(images)) for attribute in labels.split("+")]
        values = ["+".join(map(str, row)) for row in zip(*columns, strict=True)]
        names = tuple(sorted(set(values)))
        classes = np.array([names.index(value) for value in values], dtype=np.int64)
    keys = _attribute(path, split_by, len(images)) if split_by else None
    in_test = split_by_hash(
        [image.tobytes() for image in images] if keys is None else [str(key).encode() for key in keys], test_share
    )
    train, test = (
        ImageSet(images[side], classes[side] if classes is not None else None) for side in (~in_test, in_test)
    )
    if not len(train) or not len(test):
        raise DataError(f"{path}: {len(train)} train and {len(test)} test images; change test_share ({test_share})")
    return train, test, names


def _attribute(path: Path, attribute: str, n: int) -> list[Any]:
    beside = path.with_suffix(".json")
    try:
        records = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{beside} cannot be read (needed for attribute {attribute!r}): {error}") from error
    if not isinstance(records, list) or len(records) != n:
        found = len(records) if isinstance(records, list) else type(records).__name__
        raise DataError(f"{beside} holds {found} records; expected a list of {n}, one for each image")
    for i, record in enumerate(records):
        if not isinstance(record, dict) or attribute not in record:
            keys = sorted(record) if isinstance(record, dict) else repr(record)
            raise DataError(f"{beside}: record {i} lacks {attribute!r}; it has {keys}")
    return [record[attribute] for record in records]
