"""Finding bundles: references, aliases, listings beside damaged neighbours, verification."""

import hashlib
import shutil
from pathlib import Path

import pytest

from bundle.errors import BundleError, DamagedBundleError, ManifestError, NotFoundError, PublishError
from bundle.store import MANIFEST, Store, read_bundle
from tests.bundle.factory import FILES, publish


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Versions 1, 2 and 3 of `tiny`, version 1 of `other`."""
    store = Store(tmp_path / "store")
    for name in ("tiny", "tiny", "tiny", "other"):
        publish(store, name)
    return store


def problems(store: Store) -> dict[str, str]:
    return {ref: str(error) for ref, error in store.listing().problems.items()}


def listed(store: Store) -> list[tuple[str, int]]:
    return [(found.manifest.name, found.manifest.version) for found in store.listing().bundles]


ALL = [("other", 1), ("tiny", 1), ("tiny", 2), ("tiny", 3)]


def test_names_versions_and_listing_are_in_order(store: Store) -> None:
    assert store.names() == ["other", "tiny"]
    assert store.versions("tiny") == [1, 2, 3]
    assert listed(store) == ALL
    assert problems(store) == {}


def test_versions_are_in_the_order_of_numbers(store: Store) -> None:
    (store.root / "tiny" / "3").rename(store.root / "tiny" / "10")
    assert store.versions("tiny") == [1, 2, 10]
    assert store.resolve("tiny") == ("tiny", 10)


@pytest.mark.parametrize(("ref", "version"), [("tiny", 3), ("tiny@2", 2), ("tiny@stable", 1), ("other@1", 1)])
def test_references_stand_for_versions(store: Store, ref: str, version: int) -> None:
    store.set_alias("tiny", "stable", 1)
    assert store.resolve(ref) == (ref.partition("@")[0], version)
    assert store.open(ref).manifest.version == version


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "nobody",
        "@",
        "@1",
        "tiny@",
        "tiny@4",
        "tiny@0",
        "tiny@01",
        "tiny@-1",
        "tiny@latest",
        "tiny@1@1",
        "tiny@1\n",
        "tiny\n",
        "../store/tiny",
        "TINY",
        "tiny/1",
        "a\0b",
    ],
)
def test_references_to_nothing_are_not_found(store: Store, ref: str) -> None:
    with pytest.raises(NotFoundError):
        store.open(ref)


def test_what_is_not_found_comes_with_what_there_is(store: Store) -> None:
    with pytest.raises(NotFoundError, match=r"no model 'nobody' in .*; there are: other, tiny"):
        store.resolve("nobody")
    store.set_alias("tiny", "stable", 1)
    with pytest.raises(NotFoundError, match=r"no version or alias '9'; it has: 1, 2, 3, stable"):
        store.resolve("tiny@9")


def test_a_store_that_is_not_there_is_empty(tmp_path: Path) -> None:
    store = Store(tmp_path / "nowhere")
    assert store.names() == []
    assert listed(store) == []
    with pytest.raises(NotFoundError, match="there are: none"):
        store.resolve("tiny")
    assert not store.root.exists()


def test_an_alias_can_be_moved(store: Store) -> None:
    store.set_alias("tiny", "stable", 1)
    store.set_alias("tiny", "stable", 2)
    store.set_alias("tiny", "beta-1.0", 3)
    assert store.aliases("tiny") == {"beta-1.0": 3, "stable": 2}
    assert sorted(path.name for path in (store.root / "tiny" / "aliases").iterdir()) == ["beta-1.0", "stable"]


@pytest.mark.parametrize("alias", ["", "3", "1st", "Stable", "a/b", "../up", "a\n", ".staging-x", "a" * 65])
def test_bad_aliases_are_refused(store: Store, alias: str) -> None:
    with pytest.raises(PublishError, match="does not match"):
        store.set_alias("tiny", alias, 1)


@pytest.mark.parametrize(("name", "version"), [("tiny", 4), ("nobody", 1), ("../store/tiny", 1)])
def test_an_alias_needs_its_version(store: Store, name: str, version: int) -> None:
    with pytest.raises(NotFoundError):
        store.set_alias(name, "stable", version)


def test_an_alias_left_half_written_by_a_dead_process_does_no_harm(store: Store) -> None:
    store.set_alias("tiny", "stable", 1)
    (store.root / "tiny" / "aliases" / ".stable.new").write_text("99")
    assert store.aliases("tiny") == {"stable": 1}
    store.set_alias("tiny", "stable", 2)
    assert [path.name for path in (store.root / "tiny" / "aliases").iterdir()] == ["stable"]


def test_unreadable_aliases_are_left_out(store: Store) -> None:
    store.set_alias("tiny", "stable", 1)
    folder = store.root / "tiny" / "aliases"
    (folder / "words").write_text("three\n")
    (folder / "binary").write_bytes(b"\xff\xfe\x00")
    (folder / "folder").mkdir()
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "empty").write_text("")
    assert store.aliases("tiny") == {"stable": 1}
    shutil.rmtree(folder)
    folder.write_text("a file")
    assert store.aliases("tiny") == {}
    assert store.resolve("tiny@2") == ("tiny", 2)


def test_an_alias_of_a_version_that_is_gone_is_not_found(store: Store) -> None:
    store.set_alias("tiny", "old", 1)
    shutil.rmtree(store.root / "tiny" / "1")
    with pytest.raises(NotFoundError, match="'old'"):
        store.resolve("tiny@old")


def test_what_is_no_bundle_is_passed_over(store: Store) -> None:
    (store.root / "README.md").write_text("models")
    (store.root / "empty").mkdir()
    (store.root / "file").write_text("")
    (store.root / ".staging-0").mkdir()
    (store.root / "UPPER" / "1").mkdir(parents=True)
    for name in ("0", "01", "-1", "1.5", "latest", "4 ", "²"):
        (store.root / "tiny" / name).mkdir()
    (store.root / "tiny" / "7").write_text("")
    (store.root / "tiny" / "8").symlink_to("nowhere")
    assert listed(store) == ALL
    assert problems(store) == {}


@pytest.mark.parametrize("damage", ["missing", "truncated", "folder", "binary", "schema", "empty"])
def test_a_damaged_manifest_is_a_problem_and_the_neighbours_are_listed(store: Store, damage: str) -> None:
    path = store.root / "tiny" / "2" / MANIFEST
    raw = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage != "missing":
        spoilt = {
            "truncated": raw[:99],
            "binary": b"\0\xff",
            "schema": raw.replace(b'"schema_version": 1', b'"schema_version": 2'),
            "empty": b"",
        }
        path.write_bytes(spoilt[damage])
    assert listed(store) == [("other", 1), ("tiny", 1), ("tiny", 3)]
    assert list(problems(store)) == ["tiny@2"]
    assert str(path) in problems(store)["tiny@2"]
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        store.open("tiny@2")


def test_a_bundle_copied_under_another_version_or_name_is_a_problem(store: Store) -> None:
    shutil.copytree(store.root / "tiny" / "1", store.root / "tiny" / "4")
    shutil.copytree(store.root / "tiny" / "1", store.root / "third" / "1")
    assert listed(store) == ALL
    assert problems(store)["tiny@4"].endswith("holds the manifest of tiny@1; expected tiny@4")
    assert problems(store)["third@1"].endswith("holds the manifest of tiny@1; expected third@1")


def test_a_folder_that_cannot_be_read_is_a_problem_and_the_neighbours_are_listed(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterdir = Path.iterdir

    def refuse(path: Path) -> object:
        if path.name == "other":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)  # a chmod would not stop root
    assert listed(store) == ALL[1:]
    assert list(problems(store)) == ["other"]
    assert problems(store)["other"].endswith("other cannot be read: Permission denied")
    with pytest.raises(DamagedBundleError, match="Permission denied"):
        store.resolve("other")


def test_the_digest_is_the_sha256_of_the_manifest_s_bytes(store: Store) -> None:
    found = store.open("tiny@2")
    assert found.digest == hashlib.sha256((found.path / MANIFEST).read_bytes()).hexdigest()
    assert found.digest != store.open("tiny@1").digest  # the version is part of it


def test_a_bundle_moved_elsewhere_keeps_its_digest(store: Store, tmp_path: Path) -> None:
    before = store.open("tiny")
    shutil.copytree(before.path, tmp_path / "elsewhere")
    moved = read_bundle(tmp_path / "elsewhere")
    moved.verify()
    assert moved.digest == before.digest


@pytest.mark.parametrize("name", FILES)
def test_verify_names_the_file_what_was_found_and_what_was_expected(store: Store, name: str) -> None:
    bundle = store.open("tiny@3")
    bundle.verify()
    path = bundle.path / name
    raw = path.read_bytes()

    flipped = bytes([raw[0] ^ 1]) + raw[1:]
    path.write_bytes(flipped)
    found, expected = (hashlib.sha256(content).hexdigest() for content in (flipped, raw))
    with pytest.raises(DamagedBundleError, match=f"{path} has sha256 {found}; the manifest says {expected}"):
        bundle.verify()

    path.write_bytes(raw[:-1])
    with pytest.raises(DamagedBundleError, match=f"{path} has {len(raw) - 1} bytes; the manifest says {len(raw)}"):
        bundle.verify()

    path.unlink()
    with pytest.raises(DamagedBundleError, match=f"{path} is missing; the manifest lists it with {len(raw)} bytes"):
        bundle.verify()

    path.mkdir()
    with pytest.raises(DamagedBundleError, match=str(path)):
        bundle.verify()

    path.rmdir()
    path.symlink_to(path)
    with pytest.raises(DamagedBundleError, match=f"{path} cannot be read"):
        bundle.verify()


def test_every_refusal_is_a_bundle_error() -> None:
    for error in (DamagedBundleError, ManifestError, NotFoundError, PublishError):
        assert issubclass(error, BundleError)
