"""One process per run folder, by a lock that the kernel takes back when its holder dies."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

LOCK = "lock"
_PAUSE_S = 0.1


@contextlib.contextmanager
def hold(folder: Path, waiting: Callable[[str], None]) -> Iterator[None]:
    """Hold a run's folder, waiting for whoever has it.

    Args:
        folder: Made if it is missing.
        waiting: Called once, with a word about the holder, if there is one.
    """
    said = False
    while (handle := _held(folder)) is None:
        if not said:
            waiting(_holder(folder))
        said = True
        time.sleep(_PAUSE_S)
    try:
        os.ftruncate(handle, 0)
        with contextlib.suppress(OSError):  # a full disk must not hide what is wrong; the note is for people
            os.pwrite(handle, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode(), 0)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def try_hold(folder: Path) -> Iterator[bool]:
    """Hold a run's folder if nobody has it; yields whether we do."""
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _try(handle)
    finally:
        os.close(handle)


def _held(folder: Path) -> int | None:
    """The lock's handle, if we got it; None also where the folder was removed under our hands."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except FileNotFoundError:
        return None
    with contextlib.suppress(FileNotFoundError):
        if _try(handle) and os.path.samestat(os.fstat(handle), (folder / LOCK).stat()):
            return handle
    os.close(handle)
    return None


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(folder: Path) -> str:
    try:
        found = json.loads((folder / LOCK).read_text())
        return f"process {found['pid']} on {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
