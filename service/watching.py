"""What a store holds at this moment, at a glance: names and times of files; but for aliases nothing is read.

A published bundle does not change, so its manifest's inode, size and time say whether a version is still the one that
was loaded. For bundles that were refused all files are looked at: whoever mends one may rewrite any of them.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from bundle.errors import BundleError
from bundle.store import MANIFEST, Store

Stamp = tuple[object, ...]
Key = tuple[str, int]  # name and version

_log = structlog.get_logger("service")


@dataclass(frozen=True)
class Look:
    """A store at one moment.

    Attributes:
        versions: Of each name, its versions in ascending order, each with its stamp.
        aliases: Of each name, what its aliases stand for.
        unreadable: Names whose folder cannot be read, and why.
        device: Of the store's folder: another one may be mounted, or none any more.
    """

    versions: dict[str, dict[int, Stamp]] = field(default_factory=dict)
    aliases: dict[str, dict[str, int]] = field(default_factory=dict)
    unreadable: dict[str, str] = field(default_factory=dict)
    device: int = 0


def look_at(store: Store, closely: Container[Key], last: Look | None = None) -> Look:
    """Look at a store.

    Args:
        store: Which one.
        closely: Versions whose stamp is to be a close one.
        last: The look before.

    Raises:
        OSError: If the store's folder is not there, cannot be read, or is the empty one that a volume was mounted on.
            That says nothing about what was in it: a volume may come back.
    """
    if not store.root.is_dir():
        raise FileNotFoundError(f"store {str(store.root)!r} is no folder any more")
    look = Look(device=device_of(store.root))
    names = store.names()
    if last is not None and not names and last.versions and look.device != last.device:
        raise FileNotFoundError(f"store {str(store.root)!r} is an empty folder on another device: is it mounted?")
    for name in names:
        try:
            versions = store.versions(name)
        except BundleError as error:
            look.unreadable[name] = str(error)
            continue
        folder = store.root / name
        look.versions[name] = {
            version: (close_stamp if (name, version) in closely else stamp)(folder / str(version))
            for version in versions
        }
        look.aliases[name] = _aliases(store, name, last)
    return look


def device_of(folder: Path) -> int:
    """The device that a folder lies on."""
    return folder.stat().st_dev


def _aliases(store: Store, name: str, last: Look | None) -> dict[str, int]:
    """What they stand for; one whose file cannot be read at this moment stands for what it did."""
    before = {} if last is None else last.aliases.get(name, {})
    found = store.aliases(name)
    kept = {alias: before[alias] for alias in store.aliases_of(name).names() if alias not in found and alias in before}
    return found | kept


def stamp(folder: Path) -> Stamp:
    """Changes whenever another bundle takes a bundle's place."""
    return _stamp(folder / MANIFEST)


def close_stamp(folder: Path) -> Stamp:
    """Changes whenever any file in the folder does."""
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208 (only the names)
    except OSError as error:
        return (error.errno,)
    return tuple((name, _stamp(folder / name)) for name in names)


class Follower(Protocol):
    """Who is told of what a catalog does. Called on the event loop."""

    def refreshed(self) -> None:
        """The catalog has looked at the store, and serves what it holds."""

    def found_change(self) -> None:
        """It looked because it was time to, and the store had changed."""


class NoFollower:
    """Nobody."""

    def refreshed(self) -> None:
        """See Follower."""

    def found_change(self) -> None:
        """See Follower."""


async def watch(
    refresh: Callable[[], Awaitable[bool]], every_s: float, called: asyncio.Event, found_change: Callable[[], None]
) -> None:
    """Refresh again and again; what goes wrong is logged, once as long as it stays the same.

    Args:
        refresh: Says whether anything had changed.
        every_s: Seconds between two refreshes; 0 waits until it is called.
        called: Set by whoever wants a refresh now.
        found_change: Told of a change that was found without a call: who was called is not the first to know.
    """
    last = ""
    while True:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(called.wait(), every_s or None)
        was_called = called.is_set()
        called.clear()
        try:
            if await refresh() and not was_called:
                found_change()
            last = ""
        except Exception as error:  # whatever it was, the next look may go well
            text = f"{type(error).__name__}: {error}"
            if text != last:
                _log.error("store cannot be watched", reason=text, exc_info=not isinstance(error, OSError))
            last = text


def _stamp(path: Path) -> Stamp:
    try:
        found = path.stat()
    except OSError as error:
        return (error.errno,)
    return (found.st_ino, found.st_size, found.st_mtime_ns)
