"""A head that the parser has read before is not read again, and nobody can tell the difference."""

import asyncio
import itertools
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send

from service import heads
from service.app import create_app
from service.bursts import Burst, LetIn
from service.engine.places import Place, Places
from service.heads import Heads
from service.processes.server import Server
from service.settings import Settings
from service.transport import Protocol, cycle_of
from tests.service.engine.fakes import run
from tests.service.wire import connect

_TURNS = 20  # of the event loop, in which whoever has all that it needs is answered
Seen = tuple[dict[str, Any], bytes]


def request(extra: bytes = b"", body: bytes = b"{}", line: bytes = b"POST /sample?a=%20 HTTP/1.1") -> bytes:
    return b"%b\r\nHost: test\r\n%bContent-Length: %d\r\n\r\n%b" % (line, extra, len(body), body)


class Talk:
    """A conversation over one connection.

    Attributes:
        seen: Scope and body of each request that the application met.
        parsed: Pieces that the parser was given.
        places: That requests were promised, if they were to begin later.
        writes: What went out, but for the time that it took.
    """

    def __init__(self, pieces: Sequence[bytes], known: Heads | None, burst: Burst | None = None) -> None:
        self.seen: list[Seen] = []
        self.parsed: list[bytes] = []
        self.places = Places()
        run(self._go(pieces, known, burst))

    async def _go(self, pieces: Sequence[bytes], known: Heads | None, burst: Burst | None) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await self._answer(scope, receive, send)

        protocol, wire, state = connect(app, 60.0)
        protocol.heads = known
        if burst is not None:
            protocol.judge, protocol.burst = lambda *_: LetIn(Place(self.places, 1, 0.0), 60.0), burst
        parse = protocol._parse
        protocol._parse = lambda data: (self.parsed.append(data), parse(data))  # type: ignore[method-assign]
        for piece in pieces:
            if not wire.closed and protocol.parser is not None:
                protocol.data_received(piece)
            for _ in range(_TURNS):
                await asyncio.sleep(0)
            if burst is not None:
                burst.begin()
                for _ in range(_TURNS):
                    await asyncio.sleep(0)
        self.writes = b"".join(wire.writes)
        self.closed = wire.closed
        self.total = state.total_requests
        protocol.connection_lost(None)
        await asyncio.gather(*state.tasks)
        assert self.places.requests == 0

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        shown = {key: value for key, value in scope.items() if not key.startswith("genserve")}
        shown["headers"] = [*scope["headers"]]
        scope["headers"].append((b"x-added", b"by the application"))
        cycle = cycle_of(scope)
        assert cycle is not None
        body = cycle.whole_body(100)
        if body is None:
            body, more = b"", True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    return
                body, more = body + message["body"], message["more_body"]
        self.seen.append((shown, body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def test_the_same_head_is_parsed_once_whatever_the_body_and_the_connection() -> None:
    known = Heads()
    first = Talk([request(body=b"12"), request(body=b"34")], known)
    second = Talk([request(body=b"56")], known)
    assert first.parsed == [request(body=b"12")]
    assert second.parsed == []
    assert [body for _, body in first.seen + second.seen] == [b"12", b"34", b"56"]
    assert first.seen[0][0] == first.seen[1][0] == second.seen[0][0]
    assert first.writes == 2 * second.writes
    assert first.total == 2


@pytest.mark.parametrize(
    "data",
    [
        request(b"Connection: close\r\n"),
        request(b"Connection: Upgrade\r\nUpgrade: h2c\r\n"),
        request(b"Expect: 100-continue\r\n"),
        request(b"X-Request-Id: 1\r\n"),
        request(line=b"POST /sample HTTP/1.0"),
        b"POST /sample HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        request() + b"POST",
        request()[:-1],
        request() * 2,
        b"\r\n\r\n",
        b"what\r\n\r\n",
        request(b"X: 1\n"),
    ],
    ids=["close", "upgrade", "expect", "id", "1.0", "chunks", "more", "less", "two", "empty", "nonsense", "lf"],
)
def test_what_is_unusual_is_parsed_each_time(data: bytes) -> None:
    known = Heads()
    Talk([data], known)
    assert Talk([data], known).parsed == [data]


@pytest.mark.parametrize("data", [request(b"Connection: keep-alive\r\n"), b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_what_is_usual_is_not(data: bytes) -> None:
    known = Heads()
    Talk([data], known)
    assert Talk([data], known).parsed == []


PIECES = [
    request(),
    request(body=b"[]"),
    request(body=b"{ }"),
    request(b"X: \r\n\r\n"),
    request(b"Connection: close\r\n"),
    request(b"Connection: keep-alive\r\n"),
    request(b"Transfer-Encoding: chunked\r\n"),
    b"GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n",
    b"POST /sample HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"\r\n",
    b"{}",
]


@given(st.lists(st.sampled_from(PIECES), max_size=6), st.lists(st.integers(0, 400), max_size=4))
def test_nobody_can_tell_the_difference_however_requests_come(requests: list[bytes], cuts: list[int]) -> None:
    data, pieces = b"".join(requests), []
    if cuts:
        places = [0, *sorted(cuts), len(data)]
        pieces = [data[begin:end] for begin, end in itertools.pairwise(places) if data[begin:end]]
    else:
        pieces = requests
    known = Heads()
    Talk([request(), *PIECES[-4:-2]], known)
    with_heads, without = Talk(pieces, known), Talk(pieces, None)
    assert with_heads.seen == without.seen
    assert with_heads.writes == without.writes
    assert (with_heads.closed, with_heads.total) == (without.closed, without.total)
    later = Talk(pieces, known, Burst())
    assert (later.seen, later.writes, later.closed, later.total) == (
        without.seen,
        without.writes,
        without.closed,
        without.total,
    )


@pytest.mark.parametrize(
    "pieces",
    [
        [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"\r\n\r\n", b"\r\n\r\n"],
        [request(), request(body=request())[: -len(request())], request(), request()],
        [request()[:-2], b"{}", request(), request()[:-2], b"[]"],
    ],
    ids=["nothing behind a request", "a request in a body", "head and body apart"],
)
def test_bytes_that_look_like_a_known_head_are_none_elsewhere(pieces: list[bytes]) -> None:
    with_heads, without = Talk(pieces, Heads()), Talk(pieces, None)
    assert with_heads.seen == without.seen
    assert with_heads.writes == without.writes


def test_all_connections_of_a_server_know_the_same_heads(store: Path) -> None:
    async def main() -> None:
        settings = Settings(store=store)
        server = Server(create_app(settings), settings, socket.socket, bool)
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        first, second = server._protocol(), server._protocol()
        assert first.heads is second.heads is not None

    run(main())


def test_heads_are_not_kept_without_end() -> None:
    known = Heads()
    Talk([request(b"X: %d\r\n" % i) for i in range(600)], known)
    assert 0 < len(known._known) <= heads._MOST


def test_a_request_that_comes_while_another_is_answered_waits_its_turn() -> None:
    async def main() -> None:
        order: list[bytes] = []

        async def app(_: Scope, receive: Receive, send: Send) -> None:
            order.append((await receive())["body"])
            await asyncio.sleep(0)
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})

        protocol: Protocol
        protocol, _, state = connect(app, 60.0)
        for body in (b"12", b"34", b"56"):
            protocol.data_received(request(body=body))
        while state.tasks:
            await asyncio.sleep(0)
        for body in (b"78", b"90"):
            protocol.data_received(request(body=body))
        while state.tasks:
            await asyncio.sleep(0)
        assert order == [b"12", b"34", b"56", b"78", b"90"]
        protocol.connection_lost(None)

    run(main())
