"""From the event loop to a thread: the body of a request, chunk by chunk, at the pace of the slower of the two."""

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from bundle.uploads.errors import UploadError

_AHEAD = 16  # chunks that may wait for the thread; a server's chunks have at most 64 KB


@dataclass(frozen=True)
class Pace:
    """How slow a client may be.

    Attributes:
        grace_s: Seconds that it may be waited for in any case.
        bytes_per_s: What it has to send on average, beyond that.
    """

    grace_s: float = 30.0
    bytes_per_s: float = 128e3


async def read_chunks(receive: Receive, pace: Pace, limit: int) -> AsyncIterator[bytes]:
    """The body of a request, at most `limit` bytes: what stands in a form around its file counts too.

    Raises:
        UploadError: "too_large"; or "slow", where the client takes longer than it may, beside what we take ourselves.
        ClientDisconnect: If the client left before sending all of it.
    """
    clock = asyncio.get_running_loop().time
    waited, size, more = 0.0, 0, True
    while more:
        begun = clock()
        try:
            async with asyncio.timeout(pace.grace_s + size / pace.bytes_per_s - waited):  # wait_for may miss a cancel
                message = await receive()
        except TimeoutError as error:
            raise UploadError(
                "slow",
                f"{size} bytes came in {waited + clock() - begun:.0f} s; send {pace.bytes_per_s:g} or more a second",
            ) from error
        waited += clock() - begun
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise UploadError("too_large", f"the body has more than {limit} bytes, which is all that is taken")
        more = message.get("more_body", False)
        if chunk:
            yield chunk


class Pipe:
    """One end is on the event loop, the other, which is iterated over, on a thread."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._room = asyncio.Semaphore(_AHEAD)
        self._queue: queue.SimpleQueue[bytes | UploadError | None] = queue.SimpleQueue()

    async def put(self, chunk: bytes) -> None:
        """Hand a chunk over, when there is room."""
        await self._room.acquire()
        self._queue.put(chunk)

    def end(self) -> None:
        """That was the last one."""
        self._queue.put(None)

    def fail(self, error: UploadError) -> None:
        """No more will come; the thread gets to know why."""
        self._queue.put(error)

    def nobody_reads(self) -> None:
        """The thread has ended: let whoever waits for room go on."""
        self._room.release()

    def __iter__(self) -> Iterator[bytes]:
        """On the thread: the chunks.

        Raises:
            UploadError: What `fail` was given.
        """
        while (item := self._queue.get()) is not None:
            if isinstance(item, UploadError):
                raise item
            self._loop.call_soon_threadsafe(self._room.release)
            yield item
