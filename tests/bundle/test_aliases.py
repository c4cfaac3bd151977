"""What aliases mean, what they have meant, and the way back."""

import errno
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from bundle.aliases import Change
from bundle.errors import NotFoundError, PublishError, ReadOnlyStoreError
from bundle.store import Store
from tests.bundle.factory import publish
from tests.bundle.processes import FORKSERVER, running

NAME = "tiny"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path)
    for _ in range(4):
        publish(store, NAME)
    return store


def roll_back(store: Store, alias: str = "prod", by: str = "me") -> tuple[int, int | None]:
    with store.aliases_of(NAME).editing(by) as editor:
        return editor.roll_back(alias)


def remove(store: Store, alias: str = "prod") -> int | None:
    with store.aliases_of(NAME).editing("me") as editor:
        return editor.remove(alias)


def told(change: Change) -> tuple[str, str, int | None, int | None, str]:
    return change.alias, change.action, change.before, change.version, change.by


def test_history_tells_every_change_by_whom_and_why(store: Store) -> None:
    assert store.set_alias(NAME, "prod", 1, by="job 7", reason="better") is None
    assert store.set_alias(NAME, "test", 2, by="api") is None
    assert store.set_alias(NAME, "prod", 2, by="api") == 1
    assert remove(store, "test") == 2
    assert roll_back(store) == (1, 2)
    history = store.aliases_of(NAME).history()
    assert [told(change) for change in history] == [
        ("prod", "set", None, 1, "job 7"),
        ("test", "set", None, 2, "api"),
        ("prod", "set", 1, 2, "api"),
        ("test", "removed", 2, None, "me"),
        ("prod", "rolled_back", 2, 1, "me"),
    ]
    assert history[0].reason == "better"
    assert [change.at for change in history] == sorted(change.at for change in history)
    assert store.aliases_of(NAME).history("test") == [history[1], history[3]]
    assert store.aliases(NAME) == {"prod": 1}


def test_setting_what_an_alias_means_already_leaves_no_trace(store: Store) -> None:
    store.set_alias(NAME, "prod", 1)
    assert store.set_alias(NAME, "prod", 1) == 1
    assert len(store.aliases_of(NAME).history()) == 1


def test_each_rollback_goes_one_further_back_and_a_new_version_starts_from_there(store: Store) -> None:
    for version in (1, 2, 3):
        store.set_alias(NAME, "prod", version)
    assert roll_back(store) == (2, 3)
    store.set_alias(NAME, "prod", 4)
    assert roll_back(store) == (2, 4)
    assert roll_back(store) == (1, 2)
    with pytest.raises(NotFoundError, match="no other version before"):
        roll_back(store)
    assert store.aliases(NAME) == {"prod": 1}


def test_rollback_passes_over_versions_that_are_gone(store: Store) -> None:
    for version in (1, 2, 3):
        store.set_alias(NAME, "prod", version)
    shutil.rmtree(store.root / NAME / "2")
    assert roll_back(store) == (1, 3)


def test_change_that_came_to_nothing_is_no_step_of_the_way_back(store: Store) -> None:
    for version in (1, 2):
        store.set_alias(NAME, "prod", version)
    with store.aliases_of(NAME).editing("me") as editor:
        editor.set("prod", 3)
        editor.put_back("prod", 2)
        assert editor.roll_back("prod") == (1, 2)
        editor.put_back("prod", 2)
        assert editor.roll_back("prod") == (1, 2)
        editor.set("new", 3)
        editor.put_back("new", None)
    assert store.aliases(NAME) == {"prod": 1}


def test_rollback_passes_over_versions_that_are_not_wanted(store: Store) -> None:
    for version in (1, 2, 3):
        store.set_alias(NAME, "prod", version)
    with store.aliases_of(NAME).editing("me") as editor:
        assert editor.roll_back("prod", but_not={2}) == (1, 3)


def test_rollback_brings_back_an_alias_that_was_removed(store: Store) -> None:
    store.set_alias(NAME, "prod", 2)
    remove(store)
    assert store.aliases(NAME) == {}
    assert roll_back(store) == (2, None)
    assert store.aliases(NAME) == {"prod": 2}


def test_alias_that_was_changed_by_hand_can_be_rolled_back_and_is_noted_as_found(store: Store) -> None:
    store.set_alias(NAME, "prod", 1)
    (store.root / NAME / "aliases" / "prod").write_text("3\n")
    store.set_alias(NAME, "prod", 4)
    assert roll_back(store) == (3, 4)
    assert [change.action for change in store.aliases_of(NAME).history()] == ["set", "found", "set", "rolled_back"]


def test_alias_from_before_there_was_a_history_can_be_rolled_back_to(store: Store) -> None:
    (store.root / NAME / "aliases").mkdir()
    (store.root / NAME / "aliases" / "prod").write_text("1\n")
    store.set_alias(NAME, "prod", 2)
    assert roll_back(store) == (1, 2)


@pytest.mark.parametrize("change", [remove, roll_back])
def test_alias_that_never_was_cannot_be_removed_or_rolled_back(store: Store, change: Any) -> None:
    store.set_alias(NAME, "test", 1)
    with pytest.raises(NotFoundError, match="no alias 'prod'; it has: test"):
        change(store)


@pytest.mark.parametrize("name", ["nobody", "../tiny", "", "Tiny"])
def test_aliases_need_a_model_and_make_no_folder_for_one(store: Store, name: str) -> None:
    before = sorted(store.root.rglob("*"))
    with pytest.raises(NotFoundError, match="no model"):
        store.set_alias(name, "prod", 1)
    assert sorted(store.root.rglob("*")) == before


def test_refused_change_is_not_noted(store: Store) -> None:
    with pytest.raises(PublishError):
        store.set_alias(NAME, "9", 1)
    with pytest.raises(NotFoundError):
        store.set_alias(NAME, "prod", 9)
    assert store.aliases_of(NAME).history() == []


def test_half_a_line_that_a_dead_program_left_spoils_no_other(store: Store) -> None:
    store.set_alias(NAME, "prod", 1)
    with (store.root / NAME / ".alias-history.jsonl").open("a") as file:
        file.write('{"at": "2026-01-')
    store.set_alias(NAME, "prod", 2)
    assert [change.version for change in store.aliases_of(NAME).history()] == [1, 2]


def test_history_is_no_part_of_what_a_store_lists(store: Store) -> None:
    store.set_alias(NAME, "prod", 1)
    assert store.names() == [NAME]
    assert store.versions(NAME) == [1, 2, 3, 4]
    assert store.aliases_of(NAME).names() == ["prod"]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.EPERM])
def test_store_that_cannot_be_written_to_says_so(store: Store, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("bundle.aliases.replace_file", refuse)
    with pytest.raises(ReadOnlyStoreError, match=os.strerror(number)):
        store.set_alias(NAME, "prod", 1)


def move(root: Path, count: int, together: Any) -> None:
    together.wait()
    for i in range(count):
        Store(root).set_alias(NAME, "prod", 1 + (i + os.getpid()) % 4, by=str(os.getpid()))


def test_history_of_an_alias_that_several_move_at_once_has_no_gap(store: Store) -> None:
    together = FORKSERVER.Barrier(3)
    processes = [FORKSERVER.Process(target=move, args=(store.root, 20, together)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    history = store.aliases_of(NAME).history()
    assert {change.action for change in history} == {"set"}
    assert [change.before for change in history] == [None, *(change.version for change in history[:-1])]
    assert store.aliases(NAME) == {"prod": history[-1].version}


def move_and_die(root: Path, events: int) -> None:
    """Move an alias, but SIGKILL ourselves just before the given number of accesses to the store."""
    left = events

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal left
        if event in ("open", "os.rename") and str(arguments[0]).startswith(str(root)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    Store(root).set_alias(NAME, "prod", 2)
    os._exit(7)


def test_alias_survives_a_death_at_any_moment_and_can_be_rolled_back(store: Store) -> None:
    store.set_alias(NAME, "prod", 1)
    for events in range(1, 30):
        with running(move_and_die, store.root, events) as process:
            process.join()
            code = process.exitcode
        meant = store.aliases(NAME)["prod"]
        assert meant in (1, 2)
        store.set_alias(NAME, "prod", 3)
        assert roll_back(store) == (meant, 3)
        store.set_alias(NAME, "prod", 1)
        if code == 7:
            return
    raise AssertionError("it never came to its end")
