"""Files that are either whole and on the disk, or not there."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def flush(path: Path) -> None:
    """Wait until a file's content, or a folder's list of names, has reached the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, and wait until their names have reached the disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        flush(folder.parent)


def replace_file(path: Path, content: bytes) -> None:
    """Give a file a new content in one step; what a killed predecessor left aside is written over.

    Writers of one file take turns. Readers see the old content or the new one, after a power cut too.
    """
    aside = path.with_name(f".{path.name}.new")
    handle = _lock(aside)
    with os.fdopen(handle, "wb") as file:
        file.truncate()
        file.write(content)
        file.flush()
        os.fsync(handle)
        aside.rename(path)
    flush(path.parent)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder's lock for the block; whoever asks for it meanwhile waits. It goes with us when we are killed."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _lock(path: Path) -> int:
    """Open a file, made if need be, and wait until it is ours alone."""
    while True:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)
        fcntl.flock(handle, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):  # renamed while we waited, and perhaps made again by another
            if os.path.samestat(os.fstat(handle), path.stat()):
                return handle
        os.close(handle)
