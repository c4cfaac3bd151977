"""The sidecar of the files that can be made again."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from bundle.errors import DamagedBundleError, ManifestError
from bundle.hashing import check, record
from bundle.optional import OPTIONAL, OptionalFiles, read_optional, write_optional
from bundle.store import Store
from tests.bundle.factory import manifest, publish, write_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "decode.pt").write_bytes(b"script")
    (tmp_path / "encode.pt2").write_bytes(b"program")
    return tmp_path


def optional(folder: Path) -> OptionalFiles:
    return OptionalFiles(
        schema_version=1,
        torch="2.13.0",
        files={name: record(folder, name) for name in ("decode.pt", "encode.pt2")},
        unavailable={"decode.pt2": "data-dependent control flow"},
        pixel_difference={"decode.pt": 0.00012},
    )


def content(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(optional(folder).model_dump_json())
    return found


def test_what_is_written_is_read_back(folder: Path) -> None:
    write_optional(folder, optional(folder))
    assert read_optional(folder) == optional(folder)


def test_a_folder_without_a_sidecar_has_none(folder: Path) -> None:
    assert read_optional(folder) is None


def test_writing_again_replaces_the_old_one_and_leaves_nothing_aside(folder: Path) -> None:
    write_optional(folder, optional(folder))
    before = sorted(folder.iterdir())
    (folder / f".{OPTIONAL}.new").write_text("half of what a killed proc")
    newer = optional(folder).model_copy(update={"torch": "2.14.0"})
    write_optional(folder, newer)
    assert read_optional(folder) == newer
    assert sorted(folder.iterdir()) == before


def test_a_write_that_fails_leaves_the_old_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_optional(folder, optional(folder))

    def fail(_path: Path, _target: Path) -> Path:
        raise OSError("disk full")

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="disk full"):
        write_optional(folder, OptionalFiles(torch="3"))
    assert read_optional(folder) == optional(folder)


def test_the_files_can_be_checked_against_it(folder: Path) -> None:
    write_optional(folder, optional(folder))
    (folder / "decode.pt").write_bytes(b"changed")
    read = read_optional(folder)
    assert read is not None
    check(folder, read.files["encode.pt2"])
    with pytest.raises(DamagedBundleError, match=r"decode\.pt has 7 bytes; the manifest says 6"):
        check(folder, read.files["decode.pt"])


@pytest.mark.parametrize(
    "change",
    [
        {"schema_version": 2},
        {"colour": "red"},
        {"torch": None},
        {"files": {"../decode.pt": {"path": "decode.pt", "sha256": "0" * 64, "bytes": 1}}},
        {"files": {"decode.pt": {"path": "encode.pt", "sha256": "0" * 64, "bytes": 1}}},
        {"files": {"decode.onnx": {"path": "decode.onnx", "sha256": "0" * 64, "bytes": 1}}},
        {"unavailable": {"decode.pt": "it is there"}},
        {"pixel_difference": {"score.pt": 0.0}},
        {"pixel_difference": {"decode.pt": 1.5}},
    ],
    ids=str,
)
def test_a_sidecar_that_does_not_fit_the_schema_is_refused(folder: Path, change: dict[str, Any]) -> None:
    (folder / OPTIONAL).write_text(json.dumps(content(folder) | change))
    with pytest.raises(ManifestError, match=r"optional\.json: .*make the optional files again"):
        read_optional(folder)


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff\xff"])
def test_a_damaged_sidecar_is_refused(folder: Path, raw: bytes) -> None:
    (folder / OPTIONAL).write_bytes(raw)
    with pytest.raises(ManifestError, match=r"optional\.json"):
        read_optional(folder)


def test_a_sidecar_that_is_a_folder_is_refused(folder: Path) -> None:
    (folder / OPTIONAL).mkdir()
    with pytest.raises(ManifestError, match="cannot be read"):
        read_optional(folder)


def test_a_pixel_difference_that_is_not_a_number_is_refused(folder: Path) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        OptionalFiles(torch="2", files=optional(folder).files, pixel_difference={"decode.pt": float("nan")})


def test_making_the_files_after_publication_changes_neither_digest_nor_verification(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    before = publish(store)
    (before.path / "decode.pt").write_bytes(b"script")
    write_optional(before.path, OptionalFiles(torch="2", files={"decode.pt": record(before.path, "decode.pt")}))
    after = store.open("tiny")
    after.verify()
    assert after.digest == before.digest


def test_files_made_before_publication_are_published_with_it(tmp_path: Path) -> None:
    with Store(tmp_path / "store").stage("tiny") as staging:
        write_files(staging.path)
        (staging.path / "decode.pt").write_bytes(b"script")
        written = OptionalFiles(torch="2", files={"decode.pt": record(staging.path, "decode.pt")})
        write_optional(staging.path, written)
        bundle = staging.publish(manifest(staging.path))
    assert read_optional(bundle.path) == written
