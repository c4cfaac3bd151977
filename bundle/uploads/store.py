"""The store of uploaded sets: a folder of `<id>/`, in which a set is either whole or not there, under one quota.

What arrives is written to `.incoming/<random>/`, which its writer holds a lock on; the system lets go of it when the
writer dies, and whoever comes next sweeps up. Several processes may share a store: what publishes, evicts or deletes
takes turns by a lock on the folder.
"""

import contextlib
import os
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bundle.durable import flush
from bundle.hashing import SHA256
from bundle.uploads.errors import UploadError
from bundle.uploads.incoming import Incoming
from bundle.uploads.limits import Patience, UploadLimits, Wanted
from bundle.uploads.places import INCOMING, LOCK, check_disk, folders, hold, incoming_bytes, locked, make_incoming
from bundle.uploads.record import Upload, find_upload, folder_of


def _nothing() -> set[str]:
    return set()


@dataclass(frozen=True)
class _Kept:
    """A set as the quota sees it; `used` is when it was received or asked for last, by the clock of the file system."""

    path: Path
    bytes: int
    used: float


class UploadStore:
    """Uploaded sets under one folder.

    Args:
        root: The folder; it is made when the first set arrives.
        limits: Of one upload and of all.
        in_use: Ids that live jobs name; these are never evicted nor deleted. What it raises ends the call.
    """

    def __init__(
        self, root: Path, limits: UploadLimits | None = None, in_use: Callable[[], set[str]] = _nothing
    ) -> None:
        self.root = root
        self.limits = limits or UploadLimits()
        self._in_use = in_use

    def receive(
        self,
        chunks: Iterable[bytes],
        wanted: Wanted | None = None,
        left: threading.Event | None = None,
        declared: int = 0,
    ) -> Upload:
        """A set from the bytes of a zip or an `.npz`.

        Args:
            chunks: The bytes, as they arrive.
            wanted: What the sender asks for.
            left: Another thread sets it to end the work.
            declared: Bytes that the sender says will come; 0 if it does not say.

        Raises:
            UploadError: Why it is refused. Nothing of it stays on the disk.
        """
        self.sweep()
        patience = Patience(self.limits.work_s, left or threading.Event())
        with Incoming(self.root, self.limits, patience, self._publish, self._check_room, declared) as incoming:
            for chunk in chunks:
                incoming.write(chunk)
            return incoming.finish(wanted or Wanted())

    def find(self, upload: str) -> Upload:
        """The record of a set.

        Raises:
            UploadError: "unknown", or "damaged".
        """
        return find_upload(self.root, upload)

    def get(self, upload: str) -> Upload:
        """The record of a set that a job is about to name: it is not evicted for `fresh_s` seconds.

        Raises:
            UploadError: "unknown", or "damaged".
        """
        find_upload(self.root, upload)
        with locked(self.root):  # so that no eviction under way has chosen it
            found = find_upload(self.root, upload)
            os.utime(self.root / upload)
            return found

    def list(self) -> Sequence[Upload]:
        """All sets that can be read, the newest first."""
        found = []
        for kept in self._kept():
            with contextlib.suppress(UploadError):  # deleted meanwhile, or damaged: `find` says so
                found.append(find_upload(self.root, kept.path.name))
        return sorted(found, key=lambda upload: upload.created, reverse=True)

    def delete(self, upload: str) -> None:
        """Remove a set.

        Raises:
            UploadError: "unknown", or "in_use" by a live job.
        """
        folder = folder_of(self.root, upload)
        if not folder.is_dir():
            find_upload(self.root, upload)
        if upload in self._in_use():  # it may take its time, so others are not locked out meanwhile
            raise UploadError("in_use", f"upload {upload} is used by a job that has not ended; cancel it first")
        with locked(self.root):
            if not folder.is_dir():
                find_upload(self.root, upload)
            self._remove(folder)

    def sweep(self) -> None:
        """Remove what writers that are dead have left."""
        if not (self.root / INCOMING).is_dir():
            return
        with locked(self.root):  # so that no writer is between making its folder and holding it
            for folder in folders(self.root / INCOMING):
                with contextlib.suppress(OSError), hold(folder / LOCK):  # held, or gone meanwhile
                    shutil.rmtree(folder, ignore_errors=True)

    def _publish(self, folder: Path, upload: Upload) -> Upload:
        with locked(self.root):
            place = folder_of(self.root, upload.id)
            with contextlib.suppress(UploadError):
                found = find_upload(self.root, upload.id)  # an equal set was received before
                os.utime(place)
                return found
            if place.exists():  # damaged: what has arrived is whole
                self._remove(place)
            for path in self._to_evict(upload.bytes, sets=1):
                self._remove(path)
            folder.rename(place)
            flush(self.root)
            return upload

    def _check_room(self, wanted: int) -> None:
        """Refuse an upload that leaves the disk too full, or that no eviction could make room for when it is whole."""
        check_disk(self.root, self.limits, wanted)
        self._to_evict(wanted + incoming_bytes(self.root), sets=0)

    def _to_evict(self, wanted: int, sets: int) -> Sequence[Path]:
        kept = sorted(self._kept(), key=lambda each: each.used)
        excess = sum(each.bytes for each in kept) + wanted - self.limits.quota_bytes
        surplus = len(kept) + sets - self.limits.sets
        if excess <= 0 and surplus <= 0:
            return []
        safe = self._in_use()
        stale = time.time() - self.limits.fresh_s
        chosen = []
        for each in kept:
            if (excess > 0 or surplus > 0) and each.path.name not in safe and each.used < stale:
                chosen.append(each.path)
                excess, surplus = excess - each.bytes, surplus - 1
        if excess > 0 or surplus > 0:  # then nothing is evicted in vain
            raise UploadError(
                "full",
                f"{wanted} bytes want to be kept, and the quota of {self.limits.quota_bytes} bytes and "
                f"{self.limits.sets} sets is taken by those that jobs use or that are younger than "
                f"{self.limits.fresh_s:g} s; delete some, or wait",
            )
        return chosen

    def _kept(self) -> Sequence[_Kept]:
        found = []
        for folder in folders(self.root):
            if not re.fullmatch(SHA256, folder.name):
                continue
            with contextlib.suppress(OSError):  # removed meanwhile
                size = sum(file.stat().st_size for file in folder.iterdir())
                found.append(_Kept(folder, size, folder.stat().st_mtime))
        return found

    def _remove(self, folder: Path) -> None:
        aside = make_incoming(self.root)
        folder.rename(aside / folder.name)
        shutil.rmtree(aside, ignore_errors=True)
