"""Recipes are found by name and changed by dotted keys, without a way out of their folder."""

from pathlib import Path
from typing import Any

import pytest

from bundle.recipes import RecipeError, apply_overrides, named, read_named, read_table


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "b.toml").write_text("name = 'b'\n[train]\nepochs = 1\n")
    (tmp_path / "configs" / "a.toml").write_text("name = 'a'\n")
    (tmp_path / "configs" / "notes.md").write_text("none")
    (tmp_path / "configs" / "dir.toml").mkdir()
    (tmp_path / "secret.toml").write_text("name = 'secret'\n")
    return tmp_path / "configs"


def test_recipes_are_named_after_their_files(folder: Path) -> None:
    assert list(named(folder)) == ["a", "b"]
    assert read_named(folder, "b") == {"name": "b", "train": {"epochs": 1}}
    assert named(folder / "nowhere") == {}


@pytest.mark.parametrize("name", ["c", "", "../secret", "a.toml", "dir", "a\0", "/etc/passwd"])
def test_a_name_that_is_no_recipe_is_refused_with_those_that_there_are(folder: Path, name: str) -> None:
    with pytest.raises(RecipeError, match="no recipe") as raised:
        read_named(folder, name)
    assert [(problem.field, problem.allowed) for problem in raised.value.problems] == [("recipe", ["a", "b"])]


@pytest.mark.parametrize("content", [b"name = ", b"\xff\xfe", b"a = " + b"[" * 100_000, None])
def test_a_file_that_is_no_toml_is_refused_by_name(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match=r"bad\.toml (is not TOML|cannot be read)"):
        read_table(path)


def test_overrides_change_a_copy() -> None:
    widths = [3]
    table = {"train": {"epochs": 1}, "model": {"hidden": widths}}
    changed = apply_overrides(table, {"train.epochs": 2, "train.threads": 4, "data": {"name": "mnist"}, "a.b.c": None})
    assert changed == {
        "train": {"epochs": 2, "threads": 4},
        "model": {"hidden": [3]},
        "data": {"name": "mnist"},
        "a": {"b": {"c": None}},
    }
    changed["model"]["hidden"].append(4)
    assert table == {"train": {"epochs": 1}, "model": {"hidden": [3]}}


@pytest.mark.parametrize("key", ["name.first", "", ".", "train.", ".epochs", "train..epochs"])
def test_a_key_that_leads_nowhere_is_refused(key: str) -> None:
    with pytest.raises(RecipeError) as raised:
        apply_overrides({"name": "x"}, {key: 1, "name.last": 2})
    assert [problem.field for problem in raised.value.problems] == [key, "name.last"]


def test_later_overrides_go_through_earlier_ones() -> None:
    overrides: dict[str, Any] = {"data": {"name": "npz"}, "data.path": "a.npz"}
    assert apply_overrides({"data": {"size": 3}}, overrides) == {"data": {"name": "npz", "path": "a.npz"}}
    assert overrides["data"] == {"name": "npz"}
