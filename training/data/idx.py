"""MNIST and Fashion-MNIST: the canonical idx files, or an `.npz` with the same content, checked by hash.

LeCun, Cortes, Burges, "The MNIST database", http://yann.lecun.com/exdb/mnist/; Xiao, Rasul, Vollgraf,
"Fashion-MNIST", 2017, https://arxiv.org/abs/1708.07747.
"""

import gzip
import hashlib
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.dataset import Dataset, ImageSet, checked, checked_labels, content_sha256
from training.data.npz import read_arrays
from training.errors import DataError

_FILES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


@dataclass(frozen=True)
class IdxSource:
    """One of the two sets: the sha256 of its four decompressed files, its classes and its licence."""

    name: str
    sha256: dict[str, str]
    label_names: tuple[str, ...]
    licence: str
    attribution: str


MNIST = IdxSource(
    name="mnist",
    sha256={
        "x_train": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "y_train": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "x_test": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "y_test": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    label_names=tuple("0123456789"),
    licence="CC-BY-SA-3.0",
    attribution="MNIST, (c) Yann LeCun and Corinna Cortes, derived from NIST SD-1 and SD-3",
)
FASHION_MNIST = IdxSource(
    name="fashion-mnist",
    sha256={
        "x_train": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "y_train": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "x_test": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "y_test": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    },
    label_names=(
        "t-shirt/top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot",
    ),
    licence="MIT",
    attribution="Fashion-MNIST, Copyright (c) 2017 Zalando SE",
)  # fmt: skip


def load(source: IdxSource, folders: list[Path]) -> Dataset:
    """The set from the first folder that holds it.

    Each folder is tried for `<name>.npz` (with `-` or `_`), and for the four idx files, plain or gzipped, in it and in
    its subfolder `<name>`.

    Raises:
        DataError: If no folder holds it, or what it holds is not the canonical content.
    """
    for folder in folders:
        arrays = _find_npz(source, folder) or _find_idx(source, folder)
        if arrays:
            train, test = (
                ImageSet(checked(arrays[f"x_{split}"], source.name), _labels(arrays, split, source.name))
                for split in ("train", "test")
            )
            digest = content_sha256(train, test)
            return Dataset(source.name, digest, train, test, source.label_names, source.licence, source.attribution)
    places = ", ".join(str(folder) for folder in folders)
    raise DataError(
        f"no {source.name} in {places}; set GENSERVE_DATA to a folder that holds {source.name}.npz "
        f"or {source.name}/{_FILES['x_train']}[.gz] and its three companions"
    )


def _labels(arrays: dict[str, NDArray[np.uint8]], split: str, where: str) -> NDArray[np.int64]:
    return checked_labels(arrays[f"y_{split}"], len(arrays[f"x_{split}"]), where)


def _find_npz(source: IdxSource, folder: Path) -> dict[str, NDArray[np.uint8]] | None:
    for stem in (source.name, source.name.replace("-", "_")):
        path = folder / f"{stem}.npz"
        if path.is_file():
            arrays = read_arrays(path, tuple(_FILES))
            for key, array in arrays.items():
                _check(path / key, _idx_header(array) + array.tobytes(), source.sha256[key])
            return arrays
    return None


def _find_idx(source: IdxSource, folder: Path) -> dict[str, NDArray[np.uint8]] | None:
    for parent in (folder / source.name, folder):
        paths = {key: _plain_or_gzipped(parent / name) for key, name in _FILES.items()}
        if all(path.is_file() for path in paths.values()):
            return {key: _read_idx(path, source.sha256[key]) for key, path in paths.items()}
    return None


def _plain_or_gzipped(path: Path) -> Path:
    return path if path.is_file() else path.with_name(f"{path.name}.gz")


def _read_idx(path: Path, sha256: str) -> NDArray[np.uint8]:
    try:
        raw = path.read_bytes()
        raw = gzip.decompress(raw) if path.suffix == ".gz" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    _check(path, raw, sha256)
    dimensions = raw[3]
    shape = struct.unpack(f">{dimensions}I", raw[4 : 4 + 4 * dimensions])
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * dimensions).reshape(shape)


def _idx_header(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)


def _check(path: Path, raw: bytes, sha256: str) -> None:
    found = hashlib.sha256(raw).hexdigest()
    if found != sha256:
        raise DataError(f"{path} has sha256 {found} (decompressed); the canonical file has {sha256}")
