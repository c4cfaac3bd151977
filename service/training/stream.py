"""Server-sent events as an answer: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.replies import WITHOUT_BODY
from service.supervision import Supervision
from service.transport import hang_up

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = b": keep-alive\n\n"
_LAST_WORDS_S = 0.5  # that a client may take at the end to read what was sent
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),  # nginx would collect events before it passes them on
    (b"connection", b"close"),  # so that the stream's end is the connection's, and holds up no shutdown
]


def event_bytes(number: int, kind: str, data: object) -> bytes:
    """One event; its data is one line of JSON."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (number, kind.encode("ascii"), orjson.dumps(data))


def retry_bytes(milliseconds: int) -> bytes:
    """How long a client waits before it comes again."""
    return b"retry: %d\n\n" % milliseconds


class EventStream(Response):
    """Sends each piece as soon as it is there, until there are no more or the client leaves.

    Args:
        pieces: Events and comments; they have to end soon after `ending`.
        ending: Set when the service ends. A client that does not read what was sent by then is cut off.
    """

    def __init__(self, pieces: AsyncGenerator[bytes, None], ending: asyncio.Event) -> None:
        super().__init__()
        self._pieces = pieces
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        cutting = asyncio.create_task(self._cut_at_the_end(scope))
        try:
            request = Request(scope, receive)
            with contextlib.suppress(ClientDisconnect), Supervision(request, deadline=None) as supervision:
                supervision.body_was_read()
                if WITHOUT_BODY not in scope:
                    await self._write(send)
                await send({"type": "http.response.body"})
        finally:
            cutting.cancel()

    async def _write(self, send: Send) -> None:
        async with contextlib.aclosing(self._pieces) as pieces:
            async for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _cut_at_the_end(self, scope: Scope) -> None:
        await self._ending.wait()
        await asyncio.sleep(_LAST_WORDS_S)
        hang_up(scope)
