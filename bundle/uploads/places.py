"""Folders of the store: locks that end with their holder, and a disk that may be full."""

import contextlib
import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from bundle.durable import make_folder
from bundle.uploads.errors import UploadError
from bundle.uploads.limits import UploadLimits

INCOMING, LOCK, BODY = ".incoming", ".lock", "body"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def make_incoming(root: Path) -> Path:
    """A new folder for what is not yet, or no longer, a set of the store."""
    make_folder(root / INCOMING)
    folder = root / INCOMING / uuid.uuid4().hex
    folder.mkdir()
    return folder


def incoming_bytes(root: Path) -> int:
    """Bytes that have arrived of all uploads under way, by whichever process."""
    found = 0
    for folder in folders(root / INCOMING):
        with contextlib.suppress(OSError):  # gone meanwhile, or a set that is being removed
            found += (folder / BODY).stat().st_size
    return found


def folders(root: Path) -> list[Path]:
    """The folders in a folder, none if that is not there."""
    try:
        return [path for path in root.iterdir() if path.is_dir() and path.name != INCOMING]
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """The store for ourselves; others wait."""
    make_folder(root)
    with hold(root / LOCK, wait=True):
        yield


@contextlib.contextmanager
def hold(path: Path, wait: bool = False) -> Iterator[None]:
    """Hold a file, which the system lets go of when this process ends.

    Raises:
        BlockingIOError: If another holds it, and `wait` is off.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def disk_may_be_full() -> Iterator[None]:
    """Turn what the system says of a full disk, or of a full quota of its own, into a refusal.

    Raises:
        UploadError: "full".
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise UploadError("full", f"the disk has no room for the upload: {error.strerror}") from error


def check_disk(root: Path, limits: UploadLimits, wanted: int) -> None:
    """Refuse what would leave the disk too full for others.

    Raises:
        UploadError: "full".
    """
    free = shutil.disk_usage(root).free
    if free < wanted + limits.reserve_bytes:
        raise UploadError(
            "full",
            f"the upload needs {wanted} bytes; the disk has {free} left, of which {limits.reserve_bytes} stay free; "
            "delete sets that are not needed any more",
        )
