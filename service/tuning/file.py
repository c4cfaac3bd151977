"""The settings file: what tuning changes in it, and nothing else."""

import difflib
import os
import re
import stat
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Bool, Float, InlineTable, Integer, String

from bundle.durable import replace_file
from service.tuning.shapes import Setup

_BATCH = "max_batch_size"
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_MARK = re.compile(r"(?:; )?tuned for lanes = (\d+), threads = (\d+)")


class SettingsFileError(Exception):
    """The settings file cannot be read or written; the message says which and why."""


@dataclass(frozen=True)
class Edit:
    """What a settings file holds, and what it is to hold; `path` need not be there yet."""

    path: Path
    before: str
    after: str

    def diff(self) -> list[str]:
        """Lines of a unified diff; none if nothing changes."""
        before, after = self.before.splitlines(), self.after.splitlines()
        return [*difflib.unified_diff(before, after, str(self.path), str(self.path), lineterm="", n=2)]

    def write(self) -> None:
        """Give the file its new content in one step; its mode stays.

        Raises:
            SettingsFileError: If it cannot be written; it is then as it was.
        """
        target = self.path.resolve()  # a link stays a link
        try:
            mode = stat.S_IMODE(target.stat().st_mode) if target.exists() else None
            replace_file(target, self.after.encode())
            if mode is not None:
                target.chmod(mode)
        except OSError as error:
            raise SettingsFileError(f"{self.path} cannot be written: {error.strerror}") from error


def check_writable(path: Path) -> None:
    """Refuse, before anything is measured, a file that could not be written.

    Raises:
        SettingsFileError: Why not.
    """
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise SettingsFileError(f"{path} cannot be written: it is no regular file")
    if not target.parent.is_dir():
        raise SettingsFileError(f"{path} cannot be written: there is no folder {str(target.parent)!r}; make it first")
    for needed in (target.parent, *([target] if target.exists() else [])):
        if not os.access(needed, os.W_OK):
            raise SettingsFileError(f"{path} cannot be written: no permission to write {str(needed)!r}")


def edit(path: Path, model: str, setup: Setup) -> Edit:
    """Put lanes, threads and the model's batch size into a file; everything else stays, comments included.

    Raises:
        SettingsFileError: If it is there, but cannot be read.
    """
    before = _read(path)
    return Edit(path, before, with_setup(before, model, setup))


def with_setup(text: str, model: str, setup: Setup) -> str:
    """The text of a TOML file, changed; beside the model's batch size it says what that was tuned for.

    Args:
        text: A valid settings file, or nothing.
        model: Its name.
        setup: Written as `lanes`, `threads` and `[models.MODEL] max_batch_size`.
    """
    mark = f"tuned for lanes = {setup.shape.lanes}, threads = {setup.shape.threads}"
    for name, value in (("lanes", setup.shape.lanes), ("threads", setup.shape.threads)):
        text = _with_number(text, name, value)
    document = tomlkit.parse(text)
    models = _table(document.get("models", {}))
    if model not in models and not isinstance(models, InlineTable):
        # As text: tomlkit would put the new table before whatever follows a dotted `models.other.max_batch_size`.
        name = model if _BARE.fullmatch(model) else f'"{model}"'
        return _with_lines(text, len(text.splitlines()), "", f"[models.{name}]", f"{_BATCH} = {setup.batch}  # {mark}")
    own = _table(models.setdefault(model, tomlkit.inline_table()))
    own[_BATCH] = setup.batch
    if not isinstance(own, InlineTable) and not isinstance(models, InlineTable):  # in there a comment would end it
        _mark(own[_BATCH], mark)
    return tomlkit.dumps(document)


def tuned_for_others(text: str, model: str, setup: Setup) -> dict[str, tuple[int, int]]:
    """Models whose batch size says that it was tuned for other lanes and threads than these, and for which.

    Args:
        text: A valid settings file.
        model: Left out.
        setup: Lanes and threads to compare with.
    """
    now = setup.shape.lanes, setup.shape.threads
    found: dict[str, tuple[int, int]] = {}
    for name, own in tomlkit.parse(text).get("models", {}).items():
        mark = _MARK.search(own[_BATCH].trivia.comment) if _BATCH in own else None
        if mark and name != model and (was := (int(mark[1]), int(mark[2]))) != now:
            found[name] = was
    return found


def overridden(environment: Mapping[str, str], model: str) -> list[str]:
    """Variables that are set and win over what the file says of lanes, threads or this model."""
    quoted = f'"{model}"'
    wins = {name: name in environment for name in ("GENSERVE_LANES", "GENSERVE_THREADS")}
    wins["GENSERVE_MODELS"] = quoted in environment.get("GENSERVE_MODELS", "")
    return [name for name, does in wins.items() if does]


def _read(path: Path) -> str:
    try:
        text = path.read_bytes().decode() if path.exists() else ""  # as bytes: line ends stay what they are
        tomlkit.parse(text)
    except OSError as error:
        raise SettingsFileError(f"{path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, TOMLKitError) as error:
        raise SettingsFileError(f"{path} is no TOML: {error}") from error
    return text


def _with_number(text: str, name: str, value: int) -> str:
    document = tomlkit.parse(text)
    plain = [key.key for key, item in document.body if key and not key.is_dotted() and _is_line(item)]
    if name in document or not plain:
        document[name] = value
        return tomlkit.dumps(document)
    # As text: tomlkit would put it between the first table and the comment above that.
    last = re.compile(rf"""\s*["']?{re.escape(plain[-1])}["']?\s*=""")
    at = next(number for number, line in enumerate(text.splitlines()) if last.match(line))
    return _with_lines(text, at + 1, f"{name} = {value}")


def _with_lines(text: str, at: int, *lines: str) -> str:
    end = "\r\n" if "\r\n" in text else "\n"
    found = text.splitlines(keepends=True)
    if at and not found[at - 1].endswith(end):
        found[at - 1] += end
    if not at:
        lines = lines[1:] if not lines[0] else lines  # no empty line before everything
    return "".join([*found[:at], *(f"{line}{end}" for line in lines), *found[at:]])


def _is_line(item: Any) -> bool:
    return isinstance(item, Bool | Float | Integer | String) and "\n" not in item.as_string()


def _table(item: Any) -> MutableMapping[str, Any]:
    if not isinstance(item, MutableMapping):
        raise TypeError(f"expected a table, found {item!r}; `Settings` refuses such files")
    return item


def _mark(item: Any, mark: str) -> None:
    theirs = _MARK.sub("", item.trivia.comment.removeprefix("#").strip())
    item.trivia.comment = f"# {theirs}; {mark}" if theirs else f"# {mark}"
    item.trivia.comment_ws = item.trivia.comment_ws or "  "
