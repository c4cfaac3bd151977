"""Data from idx files, `.npz` and folders: read as it is, or refused with a reason before training starts."""

import dataclasses
import gzip
import hashlib
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from tests.training.samples import DATA
from training.data import idx
from training.data.dataset import Dataset
from training.data.load import load_dataset
from training.errors import DataError
from training.recipe import DataRecipe

FILES = {"x_train": "train-images-idx3", "y_train": "train-labels-idx1", "x_test": "t10k-images-idx3"}
NAMES = {**FILES, "y_test": "t10k-labels-idx1"}


def load(**table: Any) -> Dataset:
    return load_dataset(DataRecipe.model_validate(table))


@pytest.fixture
def arrays() -> dict[str, NDArray[np.uint8]]:
    with np.load(DATA / "mnist_small.npz") as found:
        return {key: found[key][:20] for key in found.files}


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def canonical(
    arrays: dict[str, NDArray[np.uint8]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, str], Path]:
    """Makes a folder with the tiny set as `idx`, `gz` or `npz`, whose hashes are taken for the canonical ones."""
    hashes = {key: hashlib.sha256(idx_bytes(array)).hexdigest() for key, array in arrays.items()}

    def make(kind: str, place: str) -> Path:
        source = dataclasses.replace(idx.FASHION_MNIST, sha256=hashes)
        monkeypatch.setattr(idx, "FASHION_MNIST", source)
        monkeypatch.setenv("GENSERVE_DATA", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / place
        folder.mkdir(exist_ok=True)
        for key, array in arrays.items():
            name = f"{NAMES[key]}-ubyte"
            if kind == "gz":
                (folder / f"{name}.gz").write_bytes(gzip.compress(idx_bytes(array)))
            elif kind == "idx":
                (folder / name).write_bytes(idx_bytes(array))
        if kind.endswith(".npz"):
            np.savez(folder / kind, **arrays)  # type: ignore[arg-type]
        return folder

    return make


@pytest.mark.parametrize(
    ("kind", "place"),
    [
        ("idx", "."),
        ("idx", "fashion-mnist"),
        ("gz", "."),
        ("gz", "fashion-mnist"),
        ("fashion-mnist.npz", "."),
        ("fashion_mnist.npz", "."),
    ],
)
def test_canonical_set_is_the_same_from_every_kind_of_file(
    kind: str, place: str, canonical: Callable[[str, str], Path], arrays: dict[str, NDArray[np.uint8]]
) -> None:
    canonical(kind, place)
    found = load(name="fashion-mnist")
    for split, part in (("train", found.train), ("test", found.test)):
        assert part.labels is not None
        np.testing.assert_array_equal(part.images, arrays[f"x_{split}"][..., None])
        np.testing.assert_array_equal(part.labels, arrays[f"y_{split}"])
    assert found.label_names is not None
    assert (len(found.label_names), found.licence) == (10, "MIT")
    digest = hashlib.sha256()
    for part in (found.train, found.test):
        digest.update(repr((part.images.shape, True)).encode() + part.images.tobytes())
        digest.update(b"" if part.labels is None else part.labels.tobytes())
    assert found.sha256 == digest.hexdigest()


@pytest.mark.parametrize("kind", ["idx", "gz", "fashion-mnist.npz"])
def test_canonical_set_with_another_pixel_is_refused(kind: str, canonical: Callable[[str, str], Path]) -> None:
    wrong = dict.fromkeys(NAMES, "0" * 64)
    canonical(kind, ".")
    idx.FASHION_MNIST = dataclasses.replace(idx.FASHION_MNIST, sha256=wrong)  # undone with the fixture's patch
    with pytest.raises(DataError, match=r"has sha256 [0-9a-f]{64} \(decompressed\); the canonical file has 000"):
        load(name="fashion-mnist")


@pytest.mark.parametrize("keep", [0, 15, 200])
def test_truncated_gzip_is_refused(keep: int, canonical: Callable[[str, str], Path]) -> None:
    path = canonical("gz", ".") / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz (cannot be read|has sha256)"):
        load(name="fashion-mnist")


def test_set_that_is_nowhere_is_asked_for_by_the_names_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENSERVE_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"no mnist in .*; set GENSERVE_DATA to a folder that holds mnist\.npz"):
        load(name="mnist")


def test_canonical_hashes_are_well_formed_and_all_different() -> None:
    hashes = [*idx.MNIST.sha256.values(), *idx.FASHION_MNIST.sha256.values()]
    assert len(set(hashes)) == 8
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in hashes)


@pytest.mark.parametrize("name", ["mnist_small", "fashion_mnist_small"])
def test_npz_with_a_split_keeps_it_and_its_labels(name: str) -> None:
    found = load(name="npz", path=DATA / f"{name}.npz")
    assert (len(found.train), len(found.test), found.train.shape) == (256, 64, (1, 28, 28))
    assert found.label_names == tuple("0123456789")
    assert found.name == name


def test_npz_of_images_is_split_by_hash_with_labels_from_the_records() -> None:
    found = load(name="npz", path=DATA / "avatars_small.npz", labels="hairColor", test_share=0.2)
    records = json.loads((DATA / "avatars_small.json").read_text())
    images = np.load(DATA / "avatars_small.npz")["images"]
    assert len(found.train) + len(found.test) == 96
    assert found.train.shape == (3, 64, 64)
    by_pixels = {image.tobytes(): record["hairColor"] for image, record in zip(images, records, strict=True)}
    assert found.label_names == tuple(sorted(set(by_pixels.values())))
    for part in (found.train, found.test):
        assert part.labels is not None
        for image, label in zip(part.images, part.labels, strict=True):
            assert found.label_names[label] == by_pixels[image.tobytes()]


def test_records_with_one_value_of_split_by_stay_on_one_side() -> None:
    found = load(name="npz", path=DATA / "avatars_small.npz", labels="hair", split_by="hair", test_share=0.3)
    assert found.train.labels is not None
    assert found.test.labels is not None
    assert not set(found.train.labels.tolist()) & set(found.test.labels.tolist())


_GOOD = np.zeros((4, 8, 8), np.uint8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": _GOOD.astype(np.float32)}, "images are float32; expected uint8"),
        ({"images": np.zeros((4, 8), np.uint8)}, r"shape \(4, 8\)"),
        ({"images": np.zeros((4, 8, 8, 4), np.uint8)}, r"shape \(4, 8, 8, 4\)"),
        ({"images": np.zeros((4, 3, 8, 8), np.uint8)}, r"shape \(4, 3, 8, 8\)"),
        ({"images": np.zeros((0, 8, 8), np.uint8)}, "there are no images"),
        ({"images": np.zeros((4, 4, 8), np.uint8)}, "8x4; expected sides from 8"),
        ({"pictures": _GOOD}, r"lacks the arrays \['images'\]; it has \['pictures'\]"),
        ({"images": np.array([None, {}])}, "cannot be read as an .npz"),
        ({"x_train": _GOOD}, r"lacks the arrays \['x_test'\]"),
        ({"x_train": _GOOD, "x_test": _GOOD, "y_train": np.zeros(4, int)}, r"lacks the arrays \['y_test'\]"),
        ({"x_train": _GOOD, "x_test": np.zeros((4, 9, 8), np.uint8)}, r"train images are \(1, 8, 8\), test"),
        (
            {"x_train": _GOOD, "x_test": _GOOD, "y_train": np.zeros(3, int), "y_test": np.zeros(4, int)},
            r"y_train\]: labels are int64\(3,\); expected whole numbers of shape \(4,\)",
        ),
        (
            {"x_train": _GOOD, "x_test": _GOOD, "y_train": np.zeros(4), "y_test": np.zeros(4, int)},
            "labels are float64",
        ),
        (
            {"x_train": _GOOD, "x_test": _GOOD, "y_train": np.full(4, -1), "y_test": np.zeros(4, int)},
            "smallest label is -1",
        ),
        ({"images": _GOOD}, "0 (train|test) |[04] train and [04] test images; change test_share"),  # all alike
    ],
)
def test_npz_with_unusable_arrays_is_refused_with_the_reason(
    content: dict[str, NDArray[Any]], message: str, tmp_path: Path
) -> None:
    np.savez(tmp_path / "set.npz", **content)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=message):
        load(name="npz", path=tmp_path / "set.npz")


@pytest.mark.parametrize("damage", ["text", "empty", "half", "npy", "flipped", "folder"])
def test_damaged_npz_is_refused_by_name(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    raw = bytearray((DATA / "mnist_small.npz").read_bytes())
    raw[len(raw) // 3] ^= 0xFF
    flipped = bytes(raw)
    if damage == "npy":
        with path.open("wb") as file:
            np.save(file, _GOOD)
    elif damage == "folder":
        path.mkdir()
    else:
        path.write_bytes({"text": b"hello", "empty": b"", "half": flipped[: len(raw) // 2], "flipped": flipped}[damage])
    with pytest.raises(DataError, match=r"set\.npz"):
        load(name="npz", path=path)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (None, "cannot be read .needed for attribute 'hair'"),
        ("{", "cannot be read"),
        ('{"hair": 1}', "holds dict records; expected a list of 96"),
        ("[]", "holds 0 records; expected a list of 96"),
        (json.dumps([{"hair": "a"}] * 95 + [{"beard": "b"}]), r"record 95 lacks 'hair'; it has \['beard'\]"),
        (json.dumps(["hair"] * 96), "record 0 lacks 'hair'; it has 'hair'"),
    ],
)
def test_records_that_do_not_fit_the_images_are_refused(records: str | None, message: str, tmp_path: Path) -> None:
    (tmp_path / "set.npz").write_bytes((DATA / "avatars_small.npz").read_bytes())
    if records is not None:
        (tmp_path / "set.json").write_text(records)
    with pytest.raises(DataError, match=message):
        load(name="npz", path=tmp_path / "set.npz", labels="hair")


def test_missing_path_is_refused_and_relative_ones_are_looked_for_in_the_data_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match="needs a path"):
        load(name="npz")
    with pytest.raises(DataError, match="there is no file"):
        load(name="npz", path=tmp_path / "none.npz")
    with pytest.raises(DataError, match="there is no folder"):
        load(name="folder", path=tmp_path / "none")
    monkeypatch.setenv("GENSERVE_DATA", str(DATA))
    monkeypatch.chdir(tmp_path)
    assert load(name="npz", path="mnist_small.npz").name == "mnist_small"


@pytest.mark.parametrize("kind", ["npz", "folder"])
def test_a_job_reads_nothing_outside_of_the_data_folders(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, data = tmp_path / "work", tmp_path / "data"
    for place in (work / "private", data / "deep", data / "uploads" / "id"):
        place.mkdir(parents=True)
        np.savez(place / "set.npz", images=np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8))
        for i in range(3):
            Image.new("RGB", (9, 9), (i, i, i)).save(place / f"{i}.png")
    end = "set.npz" if kind == "npz" else "."
    (data / "link").symlink_to(work / "private")
    (data / "inside").symlink_to(data / "deep")
    (data / "back").symlink_to(data / "uploads")
    monkeypatch.chdir(work)
    monkeypatch.setenv("GENSERVE_DATA", str(data))
    monkeypatch.setenv("GENSERVE_UPLOADS", str(data / "uploads"))

    def ordered(path: Path) -> Dataset:
        table = {"name": kind, "path": path, "size": 8, "channels": 3}
        return load_dataset(DataRecipe.model_validate(table), own_files=False)

    outside = [Path("private"), Path("link"), work / "private", Path("../work/private")]
    for path in [*outside, Path("uploads/id"), Path("back/id"), Path("none")]:
        with pytest.raises(DataError, match="data folders of this worker"):
            ordered(path / end)
    for path in (Path("deep"), Path("inside"), data / "deep"):
        assert ordered(path / end).train.shape == (3, 8, 8)
    assert load(name=kind, path=Path("private", end), size=8, channels=3).train.shape == (3, 8, 8)  # own files


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of 24 real avatars in two classes, in several formats and shapes."""
    images = np.load(DATA / "avatars_small.npz")["images"]
    for i in range(24):
        folder = tmp_path / "pictures" / ("even", "odd")[i % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(images[i][: 64 - i]).save(folder / f"{i}.{('png', 'jpg', 'webp', 'bmp')[i % 4]}")
    return tmp_path / "pictures"


@pytest.mark.parametrize("channels", [1, 3])
def test_folder_gives_squares_with_the_subfolders_as_classes(channels: int, pictures: Path) -> None:
    found = load(name="folder", path=pictures, size=16, channels=channels, test_share=0.3)
    assert found.train.shape == (channels, 16, 16)
    assert len(found.train) + len(found.test) == 24
    assert found.label_names == ("even", "odd")
    assert found.train.labels is not None
    assert found.test.labels is not None
    assert sorted([*found.train.labels, *found.test.labels]) == [0] * 12 + [1] * 12
    assert load(name="folder", path=pictures, size=16, channels=channels, test_share=0.3).sha256 == found.sha256


def test_picture_in_the_root_of_the_folder_means_no_classes(pictures: Path) -> None:
    Image.new("RGB", (9, 9)).save(pictures / "loose.png")
    found = load(name="folder", path=pictures, size=16)
    assert found.label_names is None
    assert found.train.labels is None


@pytest.mark.parametrize("content", [b"", b"no picture", "truncated"])
def test_damaged_picture_is_named(content: bytes | str, pictures: Path) -> None:
    damaged = pictures / "even" / "0.png"
    raw = damaged.read_bytes()
    damaged.write_bytes(raw[: len(raw) // 2] if isinstance(content, str) else content)
    with pytest.raises(DataError, match=r"0\.png cannot be read as an image .*; mend or remove it"):
        load(name="folder", path=pictures, size=16)


@pytest.mark.parametrize("names", [[], ["a.txt"], ["one.png"]])
def test_folder_without_pictures_is_refused(names: list[str], tmp_path: Path) -> None:
    for name in names:
        Image.new("L", (9, 9)).save(tmp_path / name, "PNG")
    with pytest.raises(DataError, match="expected at least 2 with a suffix of"):
        load(name="folder", path=tmp_path, size=16)


def test_transparent_pictures_lie_on_white_and_deep_ones_keep_their_range(tmp_path: Path) -> None:
    Image.new("RGBA", (8, 8), (0, 0, 0, 0)).save(tmp_path / "clear.png")
    ramp = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(ramp).save(tmp_path / "deep.png")
    found = load(name="folder", path=tmp_path, size=8, channels=1, test_share=0.5)
    images = np.concatenate([found.train.images, found.test.images])
    clear, deep = sorted(images, key=lambda image: -int(image.min()))
    assert (clear == 255).all()
    np.testing.assert_array_equal(deep[..., 0], np.rint(ramp / 257))


def test_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    image = Image.new("L", (8, 8), 0)
    image.paste(255, (0, 0, 8, 4))  # white above, until turned
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    for name in ("a.png", "b.png"):
        image.save(tmp_path / name, exif=exif)
    found = load(name="folder", path=tmp_path, size=8, channels=1)
    assert found.train.images[0, 0].max() == 0
    assert found.train.images[0, 7].min() == 255


def test_large_flat_picture_is_refused_before_it_fills_memory(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        Image.new("1", (20_000, 20_000)).save(tmp_path / name)
    with pytest.raises(DataError, match=r"a\.png cannot be read"):
        load(name="folder", path=tmp_path, size=8)
