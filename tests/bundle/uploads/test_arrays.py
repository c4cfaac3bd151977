"""Arrays: what is taken, and what hostile ones meet."""

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bundle.uploads.limits import UploadLimits
from tests.bundle.uploads.files import npy_header, npz, pixels, png, receive, refused, zipped

X = np.stack([pixels(i) for i in range(5)])
Y = np.array([0, 2, 1, 2, 0])
HEAD = "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }\n"


def member(content: bytes, name: str = "images.npy") -> bytes:
    return zipped([(name, content)])


@pytest.mark.parametrize("compressed", [False, True])
def test_images_and_labels_come_back_as_they_were(tmp_path: Path, compressed: bool) -> None:
    images, labels, record = receive(tmp_path, npz(compressed, images=X, labels=Y.astype(np.uint8)))
    np.testing.assert_array_equal(images, X)
    np.testing.assert_array_equal(labels, Y)
    assert labels.dtype == np.int64
    assert (record.labels, record.source, record.train) == (("0", "1", "2"), "npz", None)


def test_a_given_split_is_kept(tmp_path: Path) -> None:
    images, labels, record = receive(tmp_path, npz(x_train=X[:3], y_train=Y[:3], x_test=X[3:], y_test=Y[3:]))
    np.testing.assert_array_equal(images, X)
    np.testing.assert_array_equal(labels, Y)
    assert record.train == 3


def test_a_single_array_may_have_any_name_and_no_channels(tmp_path: Path) -> None:
    images, labels, record = receive(tmp_path, npz(arr_0=X[..., 0]))
    np.testing.assert_array_equal(images, X[..., :1])
    assert (labels, record.channels) == (None, 1)


def test_more_images_than_fit_a_block_come_back_as_they_were(tmp_path: Path) -> None:
    many = np.random.default_rng(0).integers(0, 256, (3000, 28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(receive(tmp_path, npz(arr_0=many))[0][..., 0], many)


def test_arrays_are_scaled_and_greyed_on_request(tmp_path: Path) -> None:
    assert receive(tmp_path, npz(arr_0=X), size=8)[0].shape == (5, 8, 8, 3)
    assert receive(tmp_path, npz(arr_0=X), channels=1)[0].shape == (5, 12, 12, 1)
    np.testing.assert_array_equal(receive(tmp_path, npz(arr_0=X[..., :1]), channels=3)[0], np.repeat(X[..., :1], 3, 3))


class Evil:
    """Would run a command if it were ever unpickled."""

    def __reduce__(self) -> Any:
        return (pytest.fail, ("it was unpickled",))


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    objects = np.empty(2, object)
    objects[:] = [Evil(), Evil()]
    assert "never unpickled" in refused(tmp_path, npz(images=objects)).message
    buffer = io.BytesIO()
    pickle.dump(Evil(), buffer)
    assert "no .npy array" in refused(tmp_path, member(buffer.getvalue())).message
    structured = np.zeros(2, [("a", object), ("b", np.uint8)])
    assert "never unpickled" in refused(tmp_path, npz(images=structured)).message


@pytest.mark.parametrize(
    "kind", [np.float32, np.float64, np.int64, np.uint16, np.bool_, np.complex64, "S3", "U3", "M8[s]"]
)
def test_other_types_are_refused_with_the_way_to_the_right_one(tmp_path: Path, kind: Any) -> None:
    error = refused(tmp_path, npz(images=np.zeros((4, 12, 12), kind)))
    assert "expected uint8" in error.message


@pytest.mark.parametrize(
    "shape", [(), (5,), (5, 12), (0, 12, 12), (5, 0, 12), (5, 12, 12, 2), (5, 12, 12, 4), (1, 2, 3, 4, 5)]
)
def test_other_shapes_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    assert "expected (n, height, width)" in refused(tmp_path, npz(images=np.zeros(shape, np.uint8))).message


def test_channels_first_is_refused_with_the_way_to_channels_last(tmp_path: Path) -> None:
    assert "transpose" in refused(tmp_path, npz(images=X.transpose(0, 3, 1, 2).copy())).message


def test_fortran_order_is_refused_with_the_way_out(tmp_path: Path) -> None:
    assert "ascontiguousarray" in refused(tmp_path, npz(images=np.asfortranarray(X))).message


@pytest.mark.parametrize(
    "shape",
    [
        "(1000000000, 1000, 1000)",
        "(4, 12, 13)",
        "(3, 12, 12)",
        "(2**9, 9)",
        "(-4, 12, -12)",
        "(True, 24, 24)",
        "(1e3, 12)",
        "4",
    ],
)
def test_a_shape_that_its_bytes_do_not_bear_out_is_refused(tmp_path: Path, shape: str) -> None:
    content = npy_header(HEAD % shape) + b"\0" * 576
    assert refused(tmp_path, member(content)).code == "invalid"


@pytest.mark.parametrize(
    "head",
    [
        npy_header(HEAD % "(4, 12, 12)", version=(2, 0)),
        npy_header(HEAD % "(4, 12, 12)", version=(3, 0)),
        npy_header("(" * 9000),
        npy_header("[" * 60_000),
        npy_header("__import__('os').system('false')"),
        npy_header("{'descr': '|O', 'fortran_order': False, 'shape': (2,), }"),
        b"\x93NUMPY\x01\x00\xff\xff",
        b"\x93NUMPY",
        b"",
    ],
)
def test_a_header_that_is_no_plain_array_is_refused(tmp_path: Path, head: bytes) -> None:
    assert refused(tmp_path, member(head + b"\0" * 576)).code == "invalid"


def test_a_header_that_declares_gigabytes_of_itself_takes_no_memory(tmp_path: Path) -> None:
    head = b"\x93NUMPY\x02\x00" + b"\xff\xff\xff\xf0"
    assert "version" in refused(tmp_path, member(head + b"\0" * 100_000)).message


def test_an_array_that_unpacks_as_bombs_do_is_refused(tmp_path: Path) -> None:
    content = npz(compressed=True, images=np.zeros((20, 512, 512), np.uint8))
    assert refused(tmp_path, content).code == "too_large"


def test_an_array_of_huge_images_is_refused(tmp_path: Path) -> None:
    content = npz(compressed=True, images=np.zeros((2, 300, 300), np.uint8))
    assert refused(tmp_path, content, UploadLimits(megapixels=0.05)).code == "too_large"


@pytest.mark.parametrize(
    "labels",
    [Y[:4], Y.astype(float), np.array(["a"] * 5), Y - 1, Y * 10_000, Y[:, None], np.array([None] * 5), np.array(3)],
)
def test_labels_that_are_no_classes_are_refused(tmp_path: Path, labels: Any) -> None:
    assert refused(tmp_path, npz(images=X, labels=labels)).code == "invalid"


def test_unknown_arrays_are_refused_with_the_names_that_are_known(tmp_path: Path) -> None:
    error = refused(tmp_path, npz(images=X, weights=X))
    assert "x_train and x_test" in error.message
    assert "weights" in error.message
    assert refused(tmp_path, npz(x_train=X, x_test=X[:, :9, :9])).code == "invalid"


def test_images_beside_arrays_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO(npz(images=X))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("1.png", png())
    assert "not both" in refused(tmp_path, buffer.getvalue()).message
    assert "not both" in refused(tmp_path, zipped([("cat/images.npy", b"")])).message
