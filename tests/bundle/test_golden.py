"""The golden check lets rounding pass and nothing else."""

import random
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from bundle.errors import DamagedBundleError
from bundle.golden import Arrays, GoldenCase, check_golden, load_golden, save_golden

TOLERANCE = 1e-3
IMAGE = np.linspace(-1, 1, 2 * 3 * 10 * 10, dtype=np.float32).reshape(2, 3, 10, 10)
PIXELS = (np.arange(2 * 10 * 10 * 3) % 200).astype(np.uint8).reshape(2, 10, 10, 3)
EXPECTED: Arrays = {"image": IMAGE, "pixels": PIXELS}


def check(**changed: object) -> float:
    found = {name: array for name, array in (EXPECTED | changed).items() if array is not None}  # type: ignore[operator]
    return check_golden("decode", EXPECTED, found, TOLERANCE)


def shifted(count: int, by: int = 1) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    pixels = PIXELS.copy()
    pixels.reshape(-1)[:count] += np.uint8(by)
    return pixels


def test_equal_outputs_pass_and_none_differ() -> None:
    assert check() == 0


def test_floats_may_differ_by_the_tolerance_and_no_more() -> None:
    assert check(image=IMAGE + np.float32(0.99 * TOLERANCE)) == 0
    spoilt = IMAGE.copy()
    spoilt[1, 2, 3, 4] -= np.float32(1.01 * TOLERANCE)
    with pytest.raises(DamagedBundleError, match=r"graph 'decode', output 'image': differs .* by 0\.00101"):
        check(image=spoilt)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_one_float_that_is_not_finite_is_refused(value: float) -> None:
    spoilt = IMAGE.copy()
    spoilt[0, 0, 0, 0] = value
    with pytest.raises(DamagedBundleError, match="'image'"):
        check(image=spoilt)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_golden_outputs_that_are_not_finite_agree_with_nothing(value: float) -> None:
    odd = np.full((1, 2), value, dtype=np.float32)
    with pytest.raises(DamagedBundleError, match="differs from golden"):
        check_golden("decode", {"image": odd}, {"image": odd}, TOLERANCE)


def test_one_in_a_hundred_pixels_may_differ_by_one() -> None:
    limit = PIXELS.size // 100
    assert check(pixels=shifted(limit)) == pytest.approx(0.01)
    with pytest.raises(DamagedBundleError, match=r"1\.17% of uint8 values"):
        check(pixels=shifted(limit + 1))


def test_no_pixel_may_differ_by_two() -> None:
    with pytest.raises(DamagedBundleError, match=r"'pixels': differs .* by 2"):
        check(pixels=shifted(1, by=2))


def test_a_pixel_that_wraps_from_0_to_255_is_far_away() -> None:
    with pytest.raises(DamagedBundleError, match="by 255"):
        check(pixels=shifted(1, by=255))


@pytest.mark.parametrize("name", ["image", "pixels"])
def test_a_missing_output_is_refused(name: str) -> None:
    with pytest.raises(DamagedBundleError, match=f"gives no output '{name}'"):
        check(**{name: None})


def test_another_shape_is_refused_even_where_it_would_broadcast() -> None:
    with pytest.raises(DamagedBundleError, match=r"float32\(1, 3, 10, 10\); golden.npz has float32\(2, 3, 10, 10\)"):
        check(image=IMAGE[:1])


def test_another_type_is_refused() -> None:
    with pytest.raises(DamagedBundleError, match="'image' as float64"):
        check(image=IMAGE.astype(np.float64))


def test_more_outputs_than_expected_are_no_problem() -> None:
    assert check(logvar=IMAGE) == 0


def cases() -> Mapping[str, GoldenCase]:
    z = np.ones((2, 4), dtype=np.float32)
    return {
        "decode": GoldenCase({"z": z, "label": np.array([1, 2])}, EXPECTED),
        "encode": GoldenCase({"image": IMAGE}, {"mean": z, "scope/logvar": z}),
    }


def test_cases_are_read_as_they_were_written(tmp_path: Path) -> None:
    save_golden(tmp_path / "golden.npz", cases())
    read = load_golden(tmp_path / "golden.npz")
    assert read.keys() == cases().keys()
    for graph, case in cases().items():
        for written, found in ((case.inputs, read[graph].inputs), (case.outputs, read[graph].outputs)):
            assert written.keys() == found.keys()
            for name in written:
                np.testing.assert_array_equal(found[name], written[name], strict=True)


def test_the_same_cases_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one.npz", "two.npz"):
        save_golden(tmp_path / name, cases())
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_a_damaged_archive_is_refused_with_its_path(tmp_path: Path) -> None:
    """Bytes changed or cut off at many places: the archive reads as before, or the one error comes."""
    path = tmp_path / "golden.npz"
    save_golden(path, cases())
    raw = path.read_bytes()
    messages: list[str] = []
    places = random.Random(0)
    for _ in range(300):
        place = places.randrange(len(raw))
        damaged = raw[:place] + bytes([raw[place] ^ places.randrange(1, 256)]) + raw[place + 1 :]
        path.write_bytes(damaged if places.random() < 0.7 else raw[:place])
        try:
            load_golden(path)
        except DamagedBundleError as error:
            messages.append(str(error))
    assert len(messages) > 150
    assert all(message.startswith(f"{path} cannot be read as golden arrays: ") for message in messages)


@pytest.mark.parametrize("key", ["decode", "decode/z", "decode/inside/z"])
def test_an_array_with_an_unknown_key_is_refused(tmp_path: Path, key: str) -> None:
    np.savez(tmp_path / "golden.npz", **{key: IMAGE})  # type: ignore[arg-type]
    with pytest.raises(DamagedBundleError, match="cannot be read as golden arrays"):
        load_golden(tmp_path / "golden.npz")


def test_a_single_array_and_a_pickle_and_nothing_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "array.npy", IMAGE)
    np.savez(tmp_path / "pickle.npz", **{"decode/in/z": np.array([{}], dtype=object)})  # type: ignore[arg-type]
    for name in ("array.npy", "pickle.npz", "nothing.npz"):
        with pytest.raises(DamagedBundleError, match=name):
            load_golden(tmp_path / name)
