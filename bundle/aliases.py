"""Aliases of a model: names that stand for one of its versions, and all that they have stood for.

`<name>/aliases/<alias>` holds a version and is the truth. `<name>/.alias-history.jsonl` has a line for each change, by
whom and why. A change is made first and noted then, under the lock of the folder of aliases; what was changed without
a note (by hand, or by a program that died in between) is noted before the next change as found.
"""

import contextlib
import errno
import os
import re
from collections.abc import Callable, Container, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from bundle.durable import flush, locked, make_folder, replace_file
from bundle.errors import NotFoundError, NothingBeforeError, PublishError, ReadOnlyStoreError

_FOLDER = "aliases"
_HISTORY = ".alias-history.jsonl"
_ALIAS = r"^[a-z][a-z0-9._-]{0,63}$"
_VERSION = re.compile(r"[1-9][0-9]{0,8}")
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


class Change(BaseModel):
    """A change of what an alias means.

    Attributes:
        at: When.
        alias: Which.
        action: `found`: somebody changed it without a note.
        version: What it means since; None if it was removed.
        before: What it meant until then; None if there was no such alias.
        by: Who asked for it, such as a job's id.
        reason: Why.
    """

    model_config = ConfigDict(frozen=True)

    at: datetime
    alias: str
    action: Literal["set", "removed", "rolled_back", "found"]
    version: int | None
    before: int | None
    by: str = ""
    reason: str = ""


class Aliases:
    """The aliases of one model.

    Args:
        model: Its folder.
        versions: Its versions, at the time of the call.
    """

    def __init__(self, model: Path, versions: Callable[[], list[int]]) -> None:
        self._model = model
        self._folder = model / _FOLDER
        self._versions = versions

    def names(self) -> list[str]:
        """Aliases, sorted, whether or not their files can be read."""
        try:
            found = sorted(path.name for path in self._folder.iterdir())
        except OSError:
            return []
        return [alias for alias in found if re.fullmatch(_ALIAS, alias)]

    def targets(self) -> dict[str, int]:
        """Alias → version; those whose files cannot be read are left out."""
        found = {alias: _read(self._folder / alias) for alias in self.names()}
        return {alias: version for alias, version in found.items() if version is not None}

    def history(self, alias: str | None = None) -> list[Change]:
        """All changes that were noted, or those of one alias, the oldest first."""
        try:
            lines = (self._model / _HISTORY).read_bytes().splitlines()
        except OSError:
            return []
        return [change for change in _changes(lines) if alias in (None, change.alias)]

    @contextlib.contextmanager
    def editing(self, by: str) -> Iterator["Editor"]:
        """Change aliases while nobody else does: what is read in the block stays true in it.

        Args:
            by: Who asks for it.

        Raises:
            NotFoundError: If the model has no versions.
            ReadOnlyStoreError: If the store cannot be written to.
        """
        if not self._versions():
            raise NotFoundError(f"there is no model {self._model.name!r} in {self._model.parent}")
        with _writing(self._model):
            make_folder(self._folder)
            with locked(self._folder):
                yield Editor(self, self._folder, self._model / _HISTORY, self._versions(), by)


class Editor:
    """Changes the aliases of one model; made by `Aliases.editing`, for its block."""

    def __init__(self, aliases: Aliases, folder: Path, history: Path, versions: list[int], by: str) -> None:
        self._aliases = aliases
        self._folder = folder
        self._history = history
        self._versions = versions
        self._by = by

    def set(self, alias: str, version: int, reason: str = "") -> int | None:
        """Let an alias mean a version; returns what it meant before. To set what it means already changes nothing.

        Raises:
            NotFoundError: If there is no such version.
            PublishError: If the alias is badly named.
        """
        if not re.fullmatch(_ALIAS, alias):
            raise PublishError(f"alias {alias!r} does not match {_ALIAS} (a letter first, so that it is no version)")
        if version not in self._versions:
            raise NotFoundError(f"model {self._folder.parent.name!r} has versions {self._versions}, not {version}")
        before = self.current(alias)
        if before != version:
            self._change(alias, "set", version, before, reason)
        return before

    def remove(self, alias: str, reason: str = "") -> int | None:
        """Take an alias away; returns what it meant.

        Raises:
            NotFoundError: If there is none.
        """
        self._require(alias)
        before = self.current(alias)
        self._change(alias, "removed", None, before, reason)
        return before

    def put_back(self, alias: str, version: int | None, reason: str = "") -> None:
        """Let an alias mean what it meant before a change that came to nothing: no rollback will lead to that one."""
        self._change(alias, "rolled_back", version, self.current(alias), reason)

    def roll_back(self, alias: str, reason: str = "", but_not: Container[int] = ()) -> tuple[int, int | None]:
        """Let an alias mean what it meant before its last change that was not rolled back, even if that removed it.

        Versions that are gone, and those of `but_not`, are passed over. Returns what it means now, and what it meant.

        Raises:
            NotFoundError: If there never was such an alias.
            NothingBeforeError: If it never meant anything else, or all that it meant is gone.
        """
        past = self._aliases.history(alias)
        before = self.current(alias)
        if not past:
            self._require(alias)
        for version in reversed(_standing([*past, *self._unnoted(alias, past, before)])):
            if version is None or version == before or version in but_not:
                continue
            if version in self._versions:
                self._change(alias, "rolled_back", version, before, reason)
                return version, before
        raise NothingBeforeError(
            f"alias {alias!r} of {self._folder.parent.name!r} has meant no other version before that is still there"
        )

    def current(self, alias: str) -> int | None:
        """What an alias means; None if there is no such alias."""
        return _read(self._folder / alias)

    def _require(self, alias: str) -> None:
        if alias not in self._aliases.names():
            known = ", ".join(self._aliases.names()) or "none"
            raise NotFoundError(f"model {self._folder.parent.name!r} has no alias {alias!r}; it has: {known}")

    def _change(
        self,
        alias: str,
        action: Literal["set", "removed", "rolled_back"],
        version: int | None,
        before: int | None,
        reason: str,
    ) -> None:
        now = datetime.now(UTC)
        change = Change(at=now, alias=alias, action=action, version=version, before=before, by=self._by, reason=reason)
        unnoted = self._unnoted(alias, self._aliases.history(alias), before)
        if version is None:
            (self._folder / alias).unlink()
            flush(self._folder)
        else:
            replace_file(self._folder / alias, f"{version}\n".encode())
        _append(self._history, [*unnoted, change])

    def _unnoted(self, alias: str, past: list[Change], current: int | None) -> list[Change]:
        known = past[-1].version if past else None
        if current == known:
            return []
        return [Change(at=datetime.now(UTC), alias=alias, action="found", version=current, before=known)]


def _standing(history: Iterable[Change]) -> list[int | None]:
    """What an alias has meant, the oldest first, without what was rolled back."""
    standing: list[int | None] = [None]
    for change in history:
        if change.action == "rolled_back" and change.version in standing:
            while standing[-1] != change.version:
                standing.pop()
        if standing[-1] != change.version:
            standing.append(change.version)
    return standing


def _read(path: Path) -> int | None:
    try:
        text = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return None
    return int(text) if _VERSION.fullmatch(text) else None


def _changes(lines: Iterable[bytes]) -> Iterator[Change]:
    for line in lines:
        with contextlib.suppress(ValidationError):  # the last one, of a program that died while it wrote
            yield Change.model_validate_json(line)


def _append(path: Path, changes: Iterable[Change]) -> None:
    """Add lines; half a line that a dead program left is ended, so that it spoils none of ours."""
    with path.open("ab+") as file:
        size = file.seek(0, os.SEEK_END)
        if size:
            file.seek(size - 1)
            if file.read(1) != b"\n":
                file.write(b"\n")
        file.write(b"".join(f"{change.model_dump_json()}\n".encode() for change in changes))
        file.flush()
        os.fsync(file.fileno())
    flush(path.parent)


@contextlib.contextmanager
def _writing(model: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _READ_ONLY:
            raise ReadOnlyStoreError(f"{model} cannot be written to: {error.strerror}") from error
        raise
