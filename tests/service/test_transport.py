"""A whole answer goes out in one write, and says what the usual way would say."""

import asyncio
import gc
import weakref
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from service.transport import Protocol, cycle_of
from tests.service.engine.fakes import run
from tests.service.wire import Wire, connect

POST = b"POST /sample HTTP/1.1\r\nHost: test\r\nContent-Length: 2\r\n%b\r\n{}"
LINES = [(b"content-type", b"application/json"), (b"content-length", b"4"), (b"x-seed", b"7")]


async def whole(scope: Scope, receive: Receive, _: Send) -> None:
    await receive()
    cycle = cycle_of(scope)
    assert cycle is not None
    await cycle.answer(200, b"".join(b"%b: %b\r\n" % line for line in LINES), b"body")


async def usual(_: Scope, receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": LINES})
    await send({"type": "http.response.body", "body": b"body"})


def talk(app: Any, *requests: bytes) -> Wire:
    wire = Wire()

    async def main() -> None:
        config = uvicorn.Config(app, http=Protocol, log_config=None, access_log=False, ws="none")
        config.load()
        state = ServerState()
        state.default_headers = [(b"date", b"today")]
        protocol = Protocol(config=config, server_state=state, app_state={})
        protocol.connection_made(wire)
        for request in requests:
            protocol.data_received(request)
        while state.tasks:
            await asyncio.sleep(0)
        closed = wire.closed
        protocol.connection_lost(None)
        wire.closed = closed  # by the service, not by the test

    run(main())
    return wire


@pytest.mark.parametrize("extra", [b"", b"Connection: close\r\n"])
def test_whole_answer_says_what_the_usual_way_says_in_one_write(extra: bytes) -> None:
    short, long = talk(whole, POST % extra), talk(usual, POST % extra)
    assert len(short.writes) == 1
    assert short.writes[0] == b"".join(long.writes)
    assert short.closed == long.closed == bool(extra)


def test_pipelined_requests_are_answered_in_order() -> None:
    assert len(talk(whole, (POST % b"") * 3).writes) == 3


@pytest.mark.parametrize(
    ("parts", "limit", "found"),
    [
        ([POST % b""], 2, b"{}"),
        ([POST % b""], 1, None),
        ([(POST % b"")[:-1]], 2, None),
        ([b"POST / HTTP/1.1\r\nHost: test\r\n\r\n"], 2, b""),
    ],
    ids=["whole", "too long", "not all there", "none"],
)
def test_body_that_came_in_one_piece_is_not_waited_for(parts: list[bytes], limit: int, found: bytes | None) -> None:
    bodies: list[bytes | None] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        cycle = cycle_of(scope)
        assert cycle is not None
        bodies.append(cycle.whole_body(limit))
        if bodies[0] is not None:
            await cycle.answer(200, b"content-length: 0\r\n", b"")
            return
        await usual(scope, receive, send)  # it is received like any other

    async def main() -> None:
        protocol, wire, state = connect(app)
        for part in parts:
            protocol.data_received(part)
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)
        if state.tasks:
            protocol.data_received(b"}")
        while state.tasks:
            await asyncio.sleep(0)
        assert wire.writes
        protocol.connection_lost(None)

    run(main())
    assert bodies == [found]


@pytest.mark.parametrize("requests", [1, 2])
@pytest.mark.parametrize("stays", [True, False])
def test_client_that_leaves_before_its_answer_is_told_of(stays: bool, requests: int) -> None:
    told: list[str] = []
    answer = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        cycle = cycle_of(scope)
        assert cycle is not None
        cycle.when_client_leaves(lambda: told.append("left"))
        await answer.wait()
        await usual(scope, receive, send)

    async def main() -> None:
        protocol, wire, state = connect(app)
        protocol.data_received((POST % b"") * requests)
        await asyncio.sleep(0.01)
        if stays:
            answer.set()
            await asyncio.sleep(0.01)
        written = len(wire.writes)
        protocol.connection_lost(None)
        answer.set()
        while state.tasks:
            await asyncio.sleep(0)
        assert len(wire.writes) == written  # nobody is there

    run(main())
    assert told == ([] if stays else ["left"])


def test_reading_goes_on_after_a_large_body_so_that_its_client_can_be_seen_leaving() -> None:
    told: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
        while (await receive())["more_body"]:
            continue
        cycle = cycle_of(scope)
        assert cycle is not None
        cycle.when_client_leaves(lambda: told.append("left"))
        await asyncio.sleep(0.02)

    async def main() -> None:
        protocol, wire, state = connect(app)
        protocol.data_received(b"POST /encode HTTP/1.1\r\nHost: test\r\nContent-Length: 200000\r\n\r\n")
        await asyncio.sleep(0.01)
        protocol.data_received(b"x" * 200_000)
        assert wire.paused
        await asyncio.sleep(0.01)
        assert not wire.paused
        protocol.connection_lost(None)
        while state.tasks:
            await asyncio.sleep(0)

    run(main())
    assert told == ["left"]


def test_request_that_was_answered_leaves_nothing_for_the_garbage_collector() -> None:
    async def main() -> None:
        protocol, _, state = connect(whole)
        gc.collect()
        gc.disable()
        try:
            protocol.data_received(POST % b"")
            first = weakref.ref(protocol.cycle)
            while state.tasks:
                await asyncio.sleep(0)
            protocol.data_received(POST % b"")
            while state.tasks:
                await asyncio.sleep(0)
            assert first() is None
        finally:
            gc.enable()

    run(main())


def test_connection_that_is_over_leaves_nothing_for_the_garbage_collector() -> None:
    async def main() -> None:
        gc.collect()
        gc.disable()
        try:
            protocol, wire, state = connect(whole)
            protocol.data_received(POST % b"")
            while state.tasks:
                await asyncio.sleep(0)
            protocol.connection_lost(None)
            gone = weakref.ref(protocol)
            del protocol, wire, state
            await asyncio.sleep(0)
            assert gone() is None
        finally:
            gc.enable()

    run(main())


def test_server_that_cannot_tell_says_so() -> None:
    assert cycle_of({"type": "http"}) is None


@pytest.mark.parametrize(
    "parts",
    [[], [b"POST /sam"], [POST % b"", b"POST /sample HT"], [POST % b"", b"POST /sample HTTP/1.1\r\nHost: t\r\n"]],
    ids=["nothing", "half a line", "half a line after an answer", "half a head after an answer"],
)
def test_a_client_that_never_ends_a_head_is_not_waited_for(parts: list[bytes]) -> None:
    async def main() -> None:
        protocol, wire, state = connect(whole)
        for part in parts:
            protocol.data_received(part)
            while state.tasks:
                await asyncio.sleep(0)
        await until_closed(wire)
        protocol.connection_lost(None)

    run(main())


def test_a_request_that_is_being_answered_is_waited_for() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.2)
        await whole(scope, receive, send)

    async def main() -> None:
        protocol, wire, state = connect(slow)
        protocol.data_received(POST % b"")
        while state.tasks:
            await asyncio.sleep(0.001)
        assert wire.writes
        await until_closed(wire)  # now it is idle
        protocol.connection_lost(None)

    run(main())


async def until_closed(wire: Wire) -> None:
    while not wire.closed:
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("pieces", "asked"),
    [
        ([POST % b""], [POST % b""]),
        ([POST % b"", POST % b""], [POST % b"", POST % b""]),
        ([b"PO", (POST % b"")[2:], POST % b""], [POST % b""]),
        ([(POST % b"")[:-1], b"}", POST % b"", POST % b""], [(POST % b"")[:-1], POST % b""]),
        ([POST % b"" + b"P", (POST % b"")[1:], POST % b""], [POST % b"" + b"P", POST % b""]),
        ([b"GET /x HTTP/1.1\r\nX: ", POST % b"", b"\r\n\r\n"], [b"\r\n\r\n"]),
        ([POST % b"Connection: close\r\n", POST % b""], [POST % b"Connection: close\r\n"]),
        ([(POST % b"") * 2, POST % b""], [(POST % b"") * 2, POST % b""]),
    ],
    ids=["one", "two", "its head in two", "its body in two", "the next has begun", "in a head", "closed", "pipelined"],
)
def test_only_where_a_request_may_begin_it_may_be_refused(pieces: list[bytes], asked: list[bytes]) -> None:
    found: list[bytes] = []

    async def main() -> None:
        protocol, _, state = connect(whole)
        protocol.judge = lambda head, body: found.append(head + body)  # and so nothing is refused
        for piece in pieces:
            protocol.data_received(piece)
            while state.tasks:
                await asyncio.sleep(0)
        protocol.connection_lost(None)

    run(main())
    assert found == asked


def test_nobody_is_refused_while_another_answer_is_under_way() -> None:
    found: list[bytes] = []

    async def main() -> None:
        protocol, _, state = connect(whole)
        protocol.judge = lambda head, body: found.append(head + body)
        protocol.data_received(POST % b"")
        protocol.data_received(POST % b"")  # before the first had a turn of the loop
        while state.tasks:
            await asyncio.sleep(0)
        protocol.connection_lost(None)

    run(main())
    assert found == [POST % b""]


def test_refused_at_once_the_client_has_its_answer_in_one_write_and_may_ask_again() -> None:
    async def main() -> None:
        protocol, wire, state = connect(whole)
        refusal = 503, b"content-length: 2\r\n", b"no"
        protocol.judge = lambda head, _: (lambda: refusal) if head.startswith(b"POST /s") else None
        protocol.data_received(POST % b"")
        assert wire.writes == [b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno"]
        assert not state.tasks
        assert state.total_requests == 1
        protocol.data_received(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        while state.tasks:
            await asyncio.sleep(0)
        assert wire.writes[1].endswith(b"body")
        protocol.data_received(POST % b"")
        assert wire.writes[2] == wire.writes[0]
        for _ in range(4):
            await asyncio.sleep(0.03)
            assert not wire.closed  # each time it has the patience of a kept connection anew
            protocol.data_received(POST % b"")
        await asyncio.sleep(0.2)
        assert wire.closed
        protocol.connection_lost(None)

    run(main())
