"""Uploaded data sets behind their endpoints: a few threads of their own, so that nothing else waits for an upload."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from typing import TypeVar

from starlette.requests import ClientDisconnect

from bundle.uploads.errors import UploadCode, UploadError
from bundle.uploads.limits import UploadLimits, Wanted
from bundle.uploads.record import Upload
from bundle.uploads.store import UploadStore
from jobs.errors import DatabaseError
from service.errors import (
    DatabaseUnavailableError,
    DataDamagedError,
    DataInUseError,
    InvalidUploadError,
    OverloadedError,
    ServiceError,
    StorageFullError,
    UnknownDataError,
    UploadFormatError,
    UploadTooLargeError,
    UploadTooSlowError,
)
from service.settings import Settings
from service.training.data_pipe import Pace, Pipe
from service.training.threads import Threads

T = TypeVar("T")

AT_ONCE = 2  # uploads; each takes a thread for as long as it lasts, and 200 MB at worst
_RETRY_S = 10.0
_CLOSE_S = 2.0  # for what is under way to tidy up; the next upload sweeps up what did not
_ERRORS: dict[UploadCode, type[ServiceError]] = {
    "too_large": UploadTooLargeError,
    "format": UploadFormatError,
    "invalid": InvalidUploadError,
    "unknown": UnknownDataError,
    "in_use": DataInUseError,
    "full": StorageFullError,
    "slow": UploadTooSlowError,
    "damaged": DataDamagedError,
}


class DataDesk:
    """One per application.

    Args:
        settings: Of the service.
        in_use: Ids of sets that live jobs name; called on a thread.
        limits: Left out: what the settings say.
        pace: How slow clients may be.
    """

    def __init__(
        self,
        settings: Settings,
        in_use: Callable[[], set[str]],
        limits: UploadLimits | None = None,
        pace: Pace | None = None,
    ) -> None:
        self.limits = limits or UploadLimits(
            body_bytes=int(settings.max_data_mb * 1e6), quota_bytes=int(settings.data_quota_mb * 1e6)
        )
        self.pace = pace or Pace()
        self._store = UploadStore(settings.uploads, self.limits, in_use)
        self._pool = Threads(AT_ONCE, "genserve-uploads")
        self._reading = Threads(1, "genserve-data")  # short calls need not wait for long ones
        self._deleting = Threads(1, "genserve-data-delete")  # nor for a database
        self._under_way: dict[threading.Event, tuple[Pipe, Future[Upload]]] = {}

    @property
    def most_bytes(self) -> int:
        """Of a body: a form is a little longer than its file."""
        return self.limits.body_bytes + (1 << 16)

    def check_length(self, declared: str) -> int:
        """Refuse a body by its Content-Length, before any of it is read.

        Returns:
            The length; 0 if none was declared.

        Raises:
            UploadTooLargeError: If it is too long.
        """
        size = int(declared[:20]) if declared.isdigit() else 0
        if size > self.most_bytes:
            raise UploadTooLargeError(f"the upload has {size} bytes; at most {self.limits.body_bytes} are taken")
        return size

    async def receive(
        self,
        chunks: AsyncIterator[bytes],
        wanted: Wanted,
        unwrap: Callable[[Iterable[bytes]], Iterable[bytes]],
        declared: int = 0,
    ) -> Upload:
        """Take an upload. If the caller is cancelled, so is the upload; nothing of it stays.

        Args:
            chunks: The body.
            wanted: What the sender asks for.
            unwrap: From the body to the archive, on the thread.
            declared: Content-Length; 0 if there is none.

        Raises:
            OverloadedError: If too many are under way.
            ServiceError: Why it is refused.
            ClientDisconnect: If the client left.
        """
        if len(self._under_way) >= AT_ONCE:
            raise OverloadedError(f"{AT_ONCE} uploads are under way; try again", retry_after_s=_RETRY_S)
        left, pipe = threading.Event(), Pipe()
        begun = self._pool.submit(lambda: self._store.receive(unwrap(pipe), wanted, left, declared))
        self._under_way[left] = pipe, begun
        work = asyncio.wrap_future(begun)

        def done(work: "asyncio.Future[Upload]") -> None:
            del self._under_way[left]
            pipe.nobody_reads()
            if not work.cancelled():
                work.exception()  # seen, even where nobody waits for it any more

        work.add_done_callback(done)
        try:
            async for chunk in chunks:
                if work.done():
                    break
                await pipe.put(chunk)
            pipe.end()
            return await _translated(asyncio.shield(work))
        except UploadError as error:  # of the way here
            pipe.fail(error)
            raise _translate(error) from error
        except BaseException:
            _give_up(left, pipe)
            raise

    async def list(self) -> Sequence[Upload]:
        """All sets, the newest first."""
        return await _translated(self._reading.run(self._store.list))

    async def find(self, upload: str) -> Upload:
        """One set.

        Raises:
            UnknownDataError: If there is none of that id.
            DataDamagedError: If it cannot be read.
        """
        return await _translated(self._reading.run(lambda: self._store.find(upload)))

    async def delete(self, upload: str) -> None:
        """Remove a set.

        Raises:
            UnknownDataError: If there is none of that id.
            DataInUseError: If a live job names it.
            DatabaseUnavailableError: If nobody can tell.
        """
        await _translated(self._deleting.run(lambda: self._store.delete(upload)))

    def close(self) -> None:
        """Give up what is under way, and wait until nothing of it is left, but not for a database that hangs."""
        under_way = tuple(self._under_way.items())
        for left, (pipe, _) in under_way:
            _give_up(left, pipe)
        for threads in (self._pool, self._reading, self._deleting):
            threads.close()
        wait([begun for _, (_, begun) in under_way], _CLOSE_S)


def _give_up(left: threading.Event, pipe: Pipe) -> None:
    left.set()
    pipe.fail(UploadError("left", "nobody waits for the upload any more"))


async def _translated(work: Awaitable[T]) -> T:
    try:
        return await work
    except UploadError as error:
        raise _translate(error) from error
    except DatabaseError as error:
        raise DatabaseUnavailableError(
            "the database of the training jobs does not say which sets are in use; try again", retry_after_s=_RETRY_S
        ) from error


def _translate(error: UploadError) -> Exception:
    if error.code == "left":
        return ClientDisconnect()
    made = _ERRORS[error.code](error.message)
    made.extra = error.extra
    return made
