"""Names of files in an archive: they are judged and compared, never used as a path."""

import re
import unicodedata
from collections.abc import Sequence

from bundle.uploads.errors import UploadError

_MOST_BYTES, _MOST_OF_PART = 1024, 255  # the second as file systems have it
_DRIVE = re.compile(r"[A-Za-z]:")
_UNSEEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, direction and joining marks, surrogates, line ends
_JUNK = {"thumbs.db", "desktop.ini"}


def checked_name(name: str) -> str:
    """A file's name with `/` between its parts, or a refusal.

    Raises:
        UploadError: If it could lead out of a folder on any system, or shows other than what it is.
    """
    reason = _why_unsafe(name)
    if reason:
        raise UploadError(
            "invalid", f"entry {shown(name)} {reason}; use relative names such as 'cat/1.png'", entry=shown(name)
        )
    return unicodedata.normalize("NFC", name)


def is_junk(name: str) -> bool:
    """Whether a file is one that systems leave behind: `__MACOSX/`, `.DS_Store`, `Thumbs.db`."""
    first, last = name.partition("/")[0], name.rpartition("/")[2]
    return first == "__MACOSX" or last.startswith(".") or last.lower() in _JUNK


def classes_of(names: Sequence[str]) -> list[str] | None:
    """The class of each file: its first folder below those that all share; None if not all have one, or all the same.

    Args:
        names: As `checked_name` gives them.
    """
    parts = [name.split("/") for name in names]
    shared = 0
    while all(len(part) > shared + 1 for part in parts) and len({part[shared] for part in parts}) == 1:
        shared += 1
    if any(len(part) < shared + 2 for part in parts):
        return None
    return [part[shared] for part in parts]


def shown(name: str) -> str:
    """A name for a message: short, and without anything that a terminal or a log would obey."""
    text = ascii(name)
    return text if len(text) <= 80 else f"{text[:76]}...'"


def _why_unsafe(name: str) -> str | None:
    if not name:
        return "has no name"
    encoded = name.encode("utf-8", "surrogatepass")
    if len(encoded) > _MOST_BYTES or max(map(len, encoded.split(b"/"))) > _MOST_OF_PART:
        return f"has a name of more than {_MOST_BYTES} bytes, or of {_MOST_OF_PART} in one part"
    if "\0" in name:
        return "has a NUL in its name"
    if any(unicodedata.category(char) in _UNSEEN for char in name):
        return "has characters in its name that cannot be seen"
    for form in (name, unicodedata.normalize("NFKC", name)):  # full-width dots and slashes are those of another form
        if "\\" in form:
            return "has a backslash in its name"
        if form.startswith("/"):
            return "has an absolute name"
        if _DRIVE.match(form):
            return "names a drive"
        if {"..", ".", ""} & set(form.removesuffix("/").split("/")):
            return "has a name with '..', '.' or an empty part"
    return None
