"""A bundle is either whole or not there, whoever publishes at the same time and whoever is killed when."""

import fcntl
import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

import bundle.durable
import bundle.store
from bundle.errors import BundleError, DamagedBundleError, PublishError
from bundle.store import MANIFEST, Store
from tests.bundle.factory import FILES, manifest, publish, write_files
from tests.bundle.processes import (
    FORKSERVER,
    NAME,
    list_until_told,
    move_alias,
    publish_and_die,
    publish_many,
    publish_until_killed,
    publish_when_told,
    running,
)

PUBLISHERS, EACH = 4, 10


def whole_versions(store: Store) -> list[int]:
    """Versions of the one model; fails if the store lists anything that is not whole."""
    listing = store.listing()
    assert listing.problems == {}
    for found in listing.bundles:
        found.verify()
    return [found.manifest.version for found in listing.bundles]


def leftovers(store: Store) -> list[Path]:
    return sorted((store.root / NAME).glob(".*"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_publishers_at_once_get_consecutive_versions_and_each_its_own_files(store: Store) -> None:
    together = FORKSERVER.Barrier(PUBLISHERS)
    processes = [FORKSERVER.Process(target=publish_many, args=(store.root, EACH, together)) for _ in range(PUBLISHERS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * PUBLISHERS
    assert whole_versions(store) == list(range(1, PUBLISHERS * EACH + 1))
    contents = {(found.path / "weights.safetensors").read_bytes() for found in store.listing().bundles}
    assert len(contents) == PUBLISHERS * EACH
    assert leftovers(store) == []


@pytest.mark.parametrize("old_leftovers", [0, 2])
def test_a_publisher_killed_before_any_step_leaves_the_store_whole(tmp_path: Path, old_leftovers: int) -> None:
    """The kill comes before the first access to the store, before the second, and so on until it comes too late."""
    died_with: list[tuple[list[int], set[str]]] = []
    while True:
        store = Store(tmp_path / str(len(died_with)))
        for i in range(old_leftovers):
            old = store.root / NAME / f".staging-{i}"
            old.mkdir(parents=True)
            write_files(old)
        with running(publish_and_die, store.root, len(died_with) + 1) as process:
            process.join()
        versions = whole_versions(store)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        died_with.append((versions, {file.name for folder in leftovers(store) for file in folder.iterdir()}))
        assert publish(store).manifest.version == len(versions) + 1
        assert leftovers(store) == []
    assert versions == [1]
    assert ([], {*FILES, MANIFEST}) in died_with  # between the manifest and the rename
    assert ([1], set()) in died_with  # after the rename: the version counts
    assert ([], set()) in died_with  # before the first file


def test_an_alias_moved_by_several_at_once_is_never_half_written(store: Store) -> None:
    publish(store)
    publish(store)
    together = FORKSERVER.Barrier(3)
    processes = [FORKSERVER.Process(target=move_alias, args=(store.root, 50, together)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert [path.name for path in (store.root / NAME / "aliases").iterdir()] == ["stable"]


def test_publishers_killed_at_random_moments_leave_the_store_whole(store: Store) -> None:
    moments = random.Random(0)
    for _ in range(25):
        started = FORKSERVER.Event()
        with running(publish_until_killed, store.root, started) as process:
            assert started.wait(60)
            process.join(moments.uniform(0, 0.05))
            assert process.exitcode is None
        versions = whole_versions(store)
        assert versions == list(range(1, len(versions) + 1))
    newest = publish(store)
    assert newest.manifest.version == len(versions) + 1
    assert leftovers(store) == []


def test_a_living_publisher_keeps_its_staging_folder_and_publishes_after_us(store: Store) -> None:
    here, there = FORKSERVER.Pipe()
    with running(publish_when_told, store.root, there):
        staging = Path(here.recv())
        assert publish(store).manifest.version == 1
        assert leftovers(store) == [staging]
        here.send("go on")
        assert here.recv() == 2
    assert whole_versions(store) == [1, 2]


def test_a_dead_publisher_s_staging_folder_is_swept_by_the_next(store: Store) -> None:
    here, there = FORKSERVER.Pipe()
    with running(publish_when_told, store.root, there):
        staging = Path(here.recv())
    assert leftovers(store) == [staging]
    publish(store)
    assert leftovers(store) == []


def test_readers_never_see_a_problem_while_others_publish(store: Store) -> None:
    started, enough = FORKSERVER.Event(), FORKSERVER.Event()
    here, there = FORKSERVER.Pipe()
    with running(list_until_told, store.root, started, enough, there):
        assert started.wait(60)
        together = FORKSERVER.Barrier(2)
        with (
            running(publish_many, store.root, 10, together) as one,
            running(publish_many, store.root, 10, together) as other,
        ):
            one.join()
            other.join()
        enough.set()
        rounds, problems, largest = here.recv()
    assert problems == []
    assert rounds > 1
    assert largest == 20


@pytest.mark.parametrize("step", ["open", "flock"])
def test_a_staging_folder_swept_before_it_is_locked_is_made_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    swept: list[Path] = []
    module, original = (os, os.open) if step == "open" else (fcntl, fcntl.flock)

    def sweep_first(*arguments: Any, **options: Any) -> Any:
        folders = leftovers(store)
        if folders and not swept:
            swept.extend(folders)
            shutil.rmtree(folders[0])
        return original(*arguments, **options)

    monkeypatch.setattr(module, step, sweep_first)
    publish(store)
    assert len(swept) == 1
    assert whole_versions(store) == [1]


def test_everything_is_on_the_disk_before_it_is_visible(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    flush, rename = bundle.durable.flush, Path.rename

    def note_flush(path: Path) -> None:
        steps.append(f"flush {'staging' if path.name.startswith('.staging-') else path.name}")
        flush(path)

    def note_rename(path: Path, target: Path) -> Path:
        steps.append(f"rename to {target.name}")
        return rename(path, target)

    monkeypatch.setattr(bundle.durable, "flush", note_flush)
    monkeypatch.setattr(bundle.store, "flush", note_flush)
    monkeypatch.setattr(Path, "rename", note_rename)
    publish(store)
    assert sorted(steps[:2]) == sorted([f"flush {store.root.parent.name}", f"flush {store.root.name}"])
    assert sorted(steps[2:6]) == sorted(f"flush {name}" for name in FILES)
    assert steps[6:] == [f"flush {MANIFEST}", "flush staging", "rename to 1", f"flush {NAME}"]


def test_a_block_that_fails_leaves_nothing(store: Store) -> None:
    def fail(folder: Path) -> None:
        write_files(folder)
        raise RuntimeError

    with pytest.raises(RuntimeError), store.stage(NAME) as staging:
        fail(staging.path)
    assert leftovers(store) == []
    assert store.names() == []


@pytest.mark.parametrize("damage", ["missing", "changed", "longer", "folder"])
def test_files_that_differ_from_the_manifest_are_not_published(store: Store, damage: str) -> None:
    with store.stage(NAME) as staging:
        write_files(staging.path)
        made = manifest(staging.path, NAME)
        file = staging.path / "preview.png"
        content = file.read_bytes()
        file.unlink()
        if damage == "changed":
            file.write_bytes(content[::-1])
        elif damage == "longer":
            file.write_bytes(content + b"!")
        elif damage == "folder":
            file.mkdir()
        expected = PublishError if damage == "folder" else DamagedBundleError
        with pytest.raises(expected, match=r"preview\.png"):
            staging.publish(made)
    assert store.names() == []


@pytest.mark.parametrize("target", ["there", "dangling"])
def test_a_link_is_not_published(store: Store, tmp_path: Path, target: str) -> None:
    (tmp_path / "there").write_bytes(b"elsewhere")
    with store.stage(NAME) as staging:
        write_files(staging.path)
        (staging.path / "decode.pt").symlink_to(tmp_path / target)
        with pytest.raises(PublishError, match="no regular file"):
            staging.publish(manifest(staging.path, NAME))


def test_a_manifest_for_another_name_is_not_published(store: Store) -> None:
    with store.stage(NAME) as staging:
        write_files(staging.path)
        with pytest.raises(PublishError, match="'other'"):
            staging.publish(manifest(staging.path, "other"))


@pytest.mark.parametrize("name", ["", "Tiny", "../tiny", "a/b", "tiny\n", ".hidden", "tiny@1", "a" * 65])
def test_bad_names_cannot_be_staged(store: Store, name: str) -> None:
    with pytest.raises(PublishError, match="does not match"), store.stage(name):
        pass
    assert not store.root.exists()


def test_numbers_that_are_taken_by_something_else_are_stepped_over(store: Store) -> None:
    publish(store)
    (store.root / NAME / "2").write_text("a file")
    (store.root / NAME / "notes").mkdir()
    assert publish(store).manifest.version == 3
    assert whole_versions(store) == [1, 3]


@pytest.mark.parametrize("taken_by", ["folder", "file"])
def test_a_number_taken_at_the_last_moment_is_left_to_the_other(
    store: Store, monkeypatch: pytest.MonkeyPatch, taken_by: str
) -> None:
    rename = Path.rename

    def be_slower(path: Path, target: Path) -> Path:
        if target.name == "1" and taken_by == "folder":
            target.mkdir()
            (target / MANIFEST).write_text("theirs")
        elif target.name == "1":
            target.write_text("theirs")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", be_slower)
    found = publish(store)
    assert found.manifest.version == 2
    assert found.path.name == "2"


def test_the_last_version_number_is_not_passed(store: Store) -> None:
    (store.root / NAME / "999999999").mkdir(parents=True)
    with pytest.raises(PublishError, match="the last version there is"):
        publish(store)


def test_a_failing_rename_is_told_and_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path, _target: Path) -> Path:
        raise PermissionError("read-only")

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(PermissionError):
        publish(store)
    assert leftovers(store) == []


def test_a_link_named_like_a_staging_folder_is_not_followed_by_the_sweep(store: Store, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("keep")
    (store.root / NAME).mkdir(parents=True)
    (store.root / NAME / ".staging-link").symlink_to(tmp_path / "precious")
    publish(store)
    assert (tmp_path / "precious" / "file").read_text() == "keep"


def test_files_that_the_manifest_does_not_list_are_published_too(store: Store) -> None:
    with store.stage(NAME) as staging:
        write_files(staging.path)
        (staging.path / "decode.pt").write_bytes(b"optional")
        found = staging.publish(manifest(staging.path, NAME))
    assert (found.path / "decode.pt").read_bytes() == b"optional"


def test_errors_share_one_base() -> None:
    assert issubclass(PublishError, BundleError)
    assert issubclass(DamagedBundleError, BundleError)
