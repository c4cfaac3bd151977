"""A service whose queue is full, and what asks it."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

from service.app import entrance
from service.bursts import LetIn
from service.shedding import Shedder
from tests.service.support import Client
from tests.service.wire import connect

HEAD = b"Host: test\r\nContent-Type: application/json\r\nX-Timeout-Ms: 60000\r\n"
BODY = b'{"n": 3, "seed": 7}'
WAITING = {"n": 3, "seed": 1}  # one of these waits, and two find no room


def post(body: bytes = BODY, head: bytes = HEAD, line: bytes = b"POST /sample HTTP/1.1") -> bytes:
    return b"%b\r\n%bContent-Length: %d\r\n\r\n%b" % (line, head, len(body), body)


def split(data: bytes) -> tuple[bytes, bytes]:
    """A request's head with its empty line, and its body."""
    head, end, body = data.partition(b"\r\n\r\n")
    return head + end, body


class Scene:
    """A service whose queue is full, and connections to it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.shedder: Shedder = client.app.state.shedder

    async def ask(self, data: bytes) -> tuple[bool, bytes]:
        """Whether the answer was there without a turn of the event loop, and what it is."""
        protocol, wire, state = connect(entrance(self.client.app), 60.0)
        protocol.judge, protocol.burst = self.shedder.judge, self.shedder.burst
        protocol.data_received(data)
        self.shedder.burst.begin()
        at_once = wire.writes != [] and wire.writes[0].startswith(b"HTTP/1.1 503")
        for _ in range(10):
            await asyncio.sleep(0)
        tasks = list(state.tasks)
        protocol.connection_lost(None)
        await asyncio.gather(*tasks, return_exceptions=True)
        return at_once, b"".join(wire.writes)

    async def full(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Do some work while the queue is full."""
        waiting = asyncio.ensure_future(self.client.http.post("/sample", json=WAITING))
        try:
            while not self.queued:
                await asyncio.sleep(0.001)
            await work()
        finally:
            waiting.cancel()
            await asyncio.wait((waiting,))

    @property
    def queued(self) -> int:
        """Images that wait."""
        return sum(graph.queued_images for graph in self.client.app.state.context.engine_state().graphs)

    def run(self, work: Callable[["Scene"], Coroutine[Any, Any, None]]) -> None:
        self.client.run(self.full(lambda: work(self)))


def parts_of(answer: bytes) -> tuple[bytes, dict[bytes, bytes], dict[str, Any]]:
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    return status, dict(line.split(b": ", 1) for line in lines), json.loads(body)  # type: ignore[misc]


def let_in(scene: Scene, data: bytes) -> LetIn:
    verdict = scene.shedder.judge(*split(data))
    assert isinstance(verdict, LetIn)
    return verdict
