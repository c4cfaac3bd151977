"""The settings file keeps all that tuning does not set, comments included, and is replaced in one step."""

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle.manifest import NAME
from service.tuning.file import (
    SettingsFileError,
    check_writable,
    edit,
    overridden,
    tuned_for_others,
    with_setup,
)
from service.tuning.shapes import Setup, Shape

SETUP = Setup(Shape(2, 1), 16)
FILE = """\
# Settings of the shop

store = "models"   # where the bundles are
lanes = 1          # as long as the other service lives

# what the models have of their own
[models.fashion-vae]  # the old one
max_batch_size = 8    # Ann, in May
"""
TABLES = [
    "",
    "port = 1\n",
    "port = 1",  # without an end of line
    'default_model = """\nany"""\n# of the models\n[models.third]\n',
    "[models]\n",
    "models = {}\n",
    "models = { other = { max_batch_size = 3 } }\n",
    "models.other.max_batch_size = 3\nport = 1\n",
    "models.other = { max_batch_size = 3 }\n",
    "[models]\nother.max_batch_size = 3\n",
    "[models]\nother = { max_batch_size = 3 }\n\n[models.third]\n",
    "[models.other]\nmax_batch_size = 3\n\n[models.third]\nmax_batch_size = 4\n",
    'lanes = 5\nthreads = 6\n[models."v1.5"]\nmax_batch_size = 3 # tuned for lanes = 5, threads = 6\n',
    "lanes = 5\r\n# a comment\r\n[models.other]\r\nmax_batch_size = 3\r\n",
]


def test_comments_and_all_other_settings_stay() -> None:
    assert with_setup(FILE, "fashion-vae", SETUP) == (
        """\
# Settings of the shop

store = "models"   # where the bundles are
lanes = 2          # as long as the other service lives
threads = 1

# what the models have of their own
[models.fashion-vae]  # the old one
max_batch_size = 16    # Ann, in May; tuned for lanes = 2, threads = 1
"""
    )


@given(
    st.sampled_from([*TABLES, FILE]),
    st.one_of(st.sampled_from(["other", "third", "v1.5", "fashion-vae"]), st.from_regex(NAME, fullmatch=True)),
    st.builds(Setup, st.builds(Shape, st.integers(1, 64), st.integers(1, 256)), st.integers(1, 4096)),
)
def test_nothing_but_lanes_threads_and_the_models_batch_changes(text: str, model: str, setup: Setup) -> None:
    expected: dict[str, Any] = tomllib.loads(text)
    expected |= {"lanes": setup.shape.lanes, "threads": setup.shape.threads}
    expected.setdefault("models", {}).setdefault(model, {})["max_batch_size"] = setup.batch
    once = with_setup(text, model, setup)
    assert tomllib.loads(once) == expected
    assert with_setup(once, model, setup) == once
    assert [line for line in text.splitlines() if line.startswith("#") and line not in once.splitlines()] == []


def test_models_that_were_tuned_for_other_lanes_are_known_by_their_comment() -> None:
    text = with_setup(FILE, "a", Setup(Shape(1, 2), 4))
    text = with_setup(text, "b", SETUP)
    assert tuned_for_others(text, "c", SETUP) == {"a": (1, 2)}
    assert tuned_for_others(text, "a", SETUP) == {}
    assert tuned_for_others(text, "c", Setup(Shape(1, 2), 99)) == {"b": (2, 1)}
    assert tuned_for_others("", "c", SETUP) == {}


def test_diff_shows_what_changes_and_nothing_if_nothing_does(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(FILE)
    change = edit(path, "fashion-vae", SETUP)
    assert [line for line in change.diff() if line.startswith("+") and "max_batch_size = 16" in line]
    assert path.read_text() == FILE
    change.write()
    assert path.read_text() == change.after
    assert edit(path, "fashion-vae", SETUP).diff() == []


def test_file_is_replaced_as_a_whole_and_keeps_its_mode_and_its_link(tmp_path: Path) -> None:
    path, link = tmp_path / "real.toml", tmp_path / "link.toml"
    path.write_text(FILE)
    path.chmod(0o640)
    link.symlink_to(path)
    with path.open() as reader:
        edit(link, "fashion-vae", SETUP).write()
        assert reader.read() == FILE  # who had it open reads on in the old one
    assert link.is_symlink()
    assert "max_batch_size = 16" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_file_that_cannot_be_replaced_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "settings.toml"
    path.write_text(FILE)
    change = edit(path, "fashion-vae", SETUP)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(SettingsFileError, match=r"settings\.toml cannot be written: No space left on device"):
        change.write()
    assert path.read_text() == FILE


def test_file_that_is_not_there_is_made(tmp_path: Path) -> None:
    path = tmp_path / "new.toml"
    check_writable(path)
    edit(path, "a", SETUP).write()
    assert tomllib.loads(path.read_text()) == {"lanes": 2, "threads": 1, "models": {"a": {"max_batch_size": 16}}}


def test_file_that_could_not_be_written_is_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsFileError, match="no regular file"):
        check_writable(tmp_path)
    with pytest.raises(SettingsFileError, match=r"there is no folder '.*nowhere'"):
        check_writable(tmp_path / "nowhere" / "settings.toml")
    monkeypatch.setattr(os, "access", lambda *_: False)  # tests may run as root, who may write anything
    with pytest.raises(SettingsFileError, match="no permission"):
        check_writable(tmp_path / "settings.toml")


@pytest.mark.parametrize("content", [b"lanes = ", b"\xff\xfe"])
def test_file_that_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsFileError, match=r"settings\.toml is no TOML"):
        edit(path, "a", SETUP)


def test_variables_that_win_over_the_file_are_named() -> None:
    models = '{"fashion-vae": {"max_batch_size": 3}}'
    environment = {"GENSERVE_LANES": "1", "GENSERVE_MODELS": models, "GENSERVE_PORT": "1"}
    assert overridden(environment, "fashion-vae") == ["GENSERVE_LANES", "GENSERVE_MODELS"]
    assert overridden(environment, "fashion") == ["GENSERVE_LANES"]
    assert overridden({}, "fashion-vae") == []
