"""An HTTP/1.1 connection of a client that is as cheap as Python can: the cores are the server's."""

import asyncio
from collections.abc import Callable
from typing import cast

from benchmarks.reader import Reader

BROKEN = 0  # in place of a status: the connection was closed before the answer was whole


class Connection(asyncio.Protocol):
    """One request at a time; `answered` is called with the connection and the status, or `BROKEN`."""

    def __init__(self, answered: Callable[["Connection", int], None]) -> None:
        self.began = 0.0  # when its request was begun, for whoever sends
        self.open = False
        self._answered = answered
        self._transport: asyncio.Transport
        self._reader = Reader()
        self._waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's says nothing of that class
        self.open = True

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (its signature)
        """See `asyncio.Protocol`."""
        self.open = False
        if self._waiting:
            self._end(BROKEN)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        status = self._reader.feed(data)
        if status is not None:
            self._end(status)

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._waiting = True
        self._transport.write(request)

    def leave(self) -> None:
        """Be gone at once, whatever is under way; `answered` is not called."""
        self._waiting = self.open = False
        self._transport.abort()

    def _end(self, status: int) -> None:
        self._waiting = False
        self._answered(self, status)


async def connect(port: int, answered: Callable[[Connection, int], None]) -> Connection:
    """A connection to a server on loopback."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(answered), "127.0.0.1", port)
    return connection
