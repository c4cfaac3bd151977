"""An HTTP/1.1 connection of a client that is as cheap as Python can: the cores are the server's."""

import asyncio
from collections.abc import Callable
from typing import cast

_LENGTH = b"content-length:"
_HEAD_END = b"\r\n\r\n"
_STATUS = slice(9, 12)  # HTTP/1.1 200
BROKEN = 0  # in place of a status: the connection was closed before the answer was whole


class Connection(asyncio.Protocol):
    """One request at a time; `answered` is called with the connection and the status, or `BROKEN`."""

    def __init__(self, answered: Callable[["Connection", int], None]) -> None:
        self.began = 0.0  # when its request was begun, for whoever sends
        self.open = False
        self._answered = answered
        self._transport: asyncio.Transport
        self._head = b""
        self._status = BROKEN
        self._missing = 0
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
        if self._missing:
            self._missing -= len(data)
        elif not self._begin(data):
            return
        if self._missing <= 0:
            self._missing = 0
            self._end(self._status)

    def send(self, request: bytes) -> None:
        """Send a request."""
        self._waiting = True
        self._transport.write(request)

    def leave(self) -> None:
        """Be gone at once, whatever is under way; `answered` is not called."""
        self._waiting = self.open = False
        self._transport.abort()

    def _begin(self, data: bytes) -> bool:
        """Whether the head is whole; then status and missing bytes are known."""
        self._head += data
        end = self._head.find(_HEAD_END)
        if end < 0:
            return False
        head = self._head[:end].lower()
        length = int(head.partition(_LENGTH)[2].partition(b"\r\n")[0] or 0)
        self._status = int(head[_STATUS])
        self._missing = length - (len(self._head) - end - len(_HEAD_END))
        self._head = b""
        return True

    def _end(self, status: int) -> None:
        self._waiting = False
        self._answered(self, status)


async def connect(port: int, answered: Callable[[Connection, int], None]) -> Connection:
    """A connection to a server on loopback."""
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(lambda: Connection(answered), "127.0.0.1", port)
    return connection
