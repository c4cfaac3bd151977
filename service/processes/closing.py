"""The last answers of a service that is shutting down: each ends its connection, and none is lost by that."""

import asyncio
import contextlib

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_UPLOAD_S = 5.0  # that a client may go on sending a body that nobody reads


class Closing:
    """Adds `Connection: close` to every answer of an application, and reads what is left of the request first.

    A connection that is closed while the client still sends is reset, and the reset destroys an answer that the client
    has not read yet.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the class."""
        more = True

        async def receive_and_note() -> Message:
            nonlocal more
            message = await receive()
            more = message.get("more_body", False)
            return message

        async def read_the_rest() -> None:
            while more:
                await receive_and_note()

        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"connection", b"close")]
            elif more and not message.get("more_body", False):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(read_the_rest(), _UPLOAD_S)
            await send(message)

        await self._app(scope, receive_and_note, send_last)
