"""An upload on its way into the store."""

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from bundle.durable import flush
from bundle.uploads.errors import UploadError
from bundle.uploads.limits import Patience, UploadLimits, Wanted
from bundle.uploads.normalise import normalise
from bundle.uploads.places import BODY, LOCK, check_disk, disk_may_be_full, hold, locked, make_incoming
from bundle.uploads.record import IMAGES, RECORD, Upload

_MADE = "set"
_LOOK_BYTES = 8_000_000  # that are written between two looks at what is left


class Incoming:
    """Its block leaves nothing behind, however it ends, but the set if `finish` came to its end.

    Args:
        root: Folder of the store.
        limits: Of one upload.
        patience: Ends `write` and `finish`.
        publish: Moves a folder with a complete set into place.
        check_room: Refuses so many bytes more where there is no room for them.
        declared: Bytes that its sender says it has, 0 where it does not say.
    """

    def __init__(
        self,
        root: Path,
        limits: UploadLimits,
        patience: Patience,
        publish: Callable[[Path, Upload], Upload],
        check_room: Callable[[int], None],
        declared: int,
    ) -> None:
        self._received = 0
        self._looked = 0
        self._check_room = check_room
        self._declared = declared
        self._patience = patience
        self._root = root
        self._limits = limits
        self._publish = publish
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as opening, disk_may_be_full():
            with locked(self._root):
                self._folder = make_incoming(self._root)
                opening.callback(shutil.rmtree, self._folder, ignore_errors=True)
                opening.enter_context(hold(self._folder / LOCK))
            self._check_room(self._declared)
            self._body = opening.enter_context((self._folder / BODY).open("wb"))
            self._closing = opening.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):  # a full disk tells of it once more when the body is closed
            self._closing.close()

    def write(self, chunk: bytes) -> None:
        """The next bytes.

        Raises:
            UploadError: If they are too many, or the disk is full.
        """
        if self._patience.left.is_set():  # its clock starts when all has arrived
            self._patience.check()
        self._received += len(chunk)
        if self._received > self._limits.body_bytes:
            raise UploadError(
                "too_large", f"the upload has more than {self._limits.body_bytes} bytes, which is all that is taken"
            )
        with disk_may_be_full():
            self._body.write(chunk)
            if self._received - self._looked >= _LOOK_BYTES:
                self._looked = self._received
                self._body.flush()
                self._check_room(0)

    def finish(self, wanted: Wanted) -> Upload:
        """Judge what has arrived, and keep it.

        Raises:
            UploadError: Why it is refused.
        """
        with disk_may_be_full():
            self._body.close()
            made = self._folder / _MADE
            made.mkdir()
            upload = normalise(
                self._folder / BODY,
                made / IMAGES,
                wanted,
                self._limits,
                self._patience,
                lambda size: check_disk(self._root, self._limits, size),
            )
            _write(made / RECORD, upload.model_dump_json(indent=1))
            flush(made)
            self._patience.check()
            return self._publish(made, upload)


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
