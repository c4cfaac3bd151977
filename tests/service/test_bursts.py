"""Under overload, requests that are let in begin together: later than they came, and nobody can tell otherwise."""

import asyncio
import re
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from service.app import create_app, entrance
from service.bursts import Burst, LetIn
from service.engine.batcher import Batcher
from service.engine.places import Place, Places
from service.heads import Heads
from service.processes.server import Server
from service.settings import Settings
from service.transport import Protocol, cycle_of
from tests.service.engine.fakes import run
from tests.service.support import Client, serving
from tests.service.wire import Wire, connect

LATER_S = 60.0
REQUEST = (
    b"POST /sample HTTP/1.1\r\nHost: test\r\nX-Timeout-Ms: %d\r\nContent-Length: 22\r\n\r\n" + b'{"n": 1, "seed": %4d}'
)


def test_all_are_called_in_their_order_and_once() -> None:
    async def main() -> None:
        burst, called = Burst(), []
        for number in range(3):
            burst.add(partial(called.append, number), LATER_S)
        assert called == []
        burst.begin()
        burst.begin()
        assert called == [0, 1, 2]

    run(main())


def test_whoever_may_wait_least_says_when() -> None:
    async def main() -> None:
        burst, called = Burst(), []
        begun = asyncio.get_running_loop().time()
        for number, within_s in enumerate((LATER_S, 0.01, LATER_S)):
            burst.add(partial(called.append, number), within_s)
        while not called:
            await asyncio.sleep(0.001)
        assert called == [0, 1, 2]
        assert asyncio.get_running_loop().time() - begun < LATER_S / 2
        burst.add(partial(called.append, 3), 0.001)  # and the next ones have a time of their own
        while len(called) < 4:
            await asyncio.sleep(0.001)

    run(main())


def test_after_all_have_begun_early_the_next_ones_have_their_own_time() -> None:
    async def main() -> None:
        burst, called = Burst(), []
        burst.add(partial(called.append, 0), 0.01)
        burst.begin()
        burst.add(partial(called.append, 1), LATER_S)
        await asyncio.sleep(0.05)
        assert called == [0]

    run(main())


def test_who_may_not_wait_takes_all_others_with_it() -> None:
    async def main() -> None:
        burst, called = Burst(), []
        burst.add(partial(called.append, 0), LATER_S)
        burst.add(partial(called.append, 1), 0.0)
        assert called == [0, 1]

    run(main())


def test_nobody_waits_in_a_service_that_is_about_to_end() -> None:
    async def main() -> None:
        burst, called = Burst(), []
        burst.add(partial(called.append, 0), LATER_S)
        burst.end()
        burst.add(partial(called.append, 1), LATER_S)
        assert called == [0, 1]

    run(main())


class Lines:
    """Connections to an application that knows their requests' heads, and lets every request wait.

    Attributes:
        seen: Of each request that it met, the body.
        places: That they were promised.
        may_wait_s: Each of them.
        heads: That they all know.
    """

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.burst = Burst()
        self.places = Places()
        self.may_wait_s = LATER_S
        self.heads: Heads | None = Heads()

    def connect(self, app: Any = None) -> tuple[Protocol, Wire]:
        async def answer(scope: Scope, _: Receive, send: Send) -> None:
            await self._answer(scope, send)

        protocol, wire, self.state = connect(app or answer, 60.0)
        protocol.heads = self.heads
        protocol.judge = lambda *_: LetIn(Place(self.places, 1, 0.0), self.may_wait_s)
        protocol.burst = self.burst
        return protocol, wire

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)

    async def _answer(self, scope: Scope, send: Send) -> None:
        cycle = cycle_of(scope)
        assert cycle is not None
        body = cycle.whole_body(100)
        self.seen.append(b"left" if body is None else body)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


def request(seed: int, timeout_ms: int = 60000) -> bytes:
    return REQUEST % (timeout_ms, seed)


def with_lines(work: Callable[[Lines], Coroutine[Any, Any, None]]) -> None:
    """Do some work with connections that let their parser read the heads, and once more with those that know them."""

    async def main(known: bool) -> None:
        lines = Lines()
        lines.heads = Heads() if known else None
        protocol, _ = lines.connect()
        protocol.data_received(request(0))
        lines.burst.begin()
        await lines.settle()
        assert len(lines.seen) == 1
        lines.seen.clear()
        await work(lines)
        lines.burst.begin()
        await lines.settle()
        assert (lines.places.requests, lines.places.rows) == (0, 0)

    for known in (False, True):
        run(main(known))


def test_requests_of_several_connections_begin_together_in_their_order() -> None:
    async def work(lines: Lines) -> None:
        wires = []
        for seed in range(4):
            protocol, wire = lines.connect()
            protocol.data_received(request(seed))
            wires.append(wire)
        await lines.settle()
        assert lines.seen == []
        lines.burst.begin()
        await lines.settle()
        assert [int(body[-5:-1]) for body in lines.seen] == [0, 1, 2, 3]
        assert all(wire.writes[0].startswith(b"HTTP/1.1 200") for wire in wires)

    with_lines(work)


def test_request_that_may_not_wait_begins_after_those_that_came_before() -> None:
    async def work(lines: Lines) -> None:
        protocol, _ = lines.connect()
        protocol.data_received(request(1))
        other, _ = lines.connect()
        lines.may_wait_s = 0.0
        other.data_received(request(2))
        await lines.settle()
        assert [int(body[-5:-1]) for body in lines.seen] == [1, 2]

    with_lines(work)


def test_next_request_of_a_connection_waits_for_the_one_before_it() -> None:
    async def work(lines: Lines) -> None:
        protocol, wire = lines.connect()
        protocol.data_received(request(1))
        protocol.data_received(request(2))
        await lines.settle()
        assert lines.seen == []
        lines.burst.begin()
        await lines.settle()
        assert [int(body[-5:-1]) for body in lines.seen] == [1, 2]
        assert b"".join(wire.writes).count(b"HTTP/1.1 200") == 2

    with_lines(work)


def test_place_of_what_is_no_request_is_given_up() -> None:
    async def main() -> None:
        lines = Lines()
        protocol, wire = lines.connect()
        protocol.data_received(b"GARBAGE\r\n\r\n")
        assert wire.writes[0].startswith(b"HTTP/1.1 400")
        assert lines.places.requests == 0

    run(main())


def test_request_that_was_promised_nothing_begins_at_once_and_alone() -> None:
    async def work(lines: Lines) -> None:
        protocol, _ = lines.connect()
        protocol.data_received(request(1))
        other, _ = lines.connect()
        other.judge = lambda *_: None
        other.data_received(request(2))
        await lines.settle()
        assert [int(body[-5:-1]) for body in lines.seen] == [2]

    with_lines(work)


def test_client_that_leaves_meanwhile_is_known_to_have_left() -> None:
    async def work(lines: Lines) -> None:
        protocol, wire = lines.connect()
        protocol.data_received(request(1))
        protocol.connection_lost(None)
        lines.burst.begin()
        await lines.settle()
        assert lines.seen == [b"left"]
        assert wire.writes == []

    with_lines(work)


def test_connection_is_kept_while_its_request_waits_and_closed_when_it_is_idle_again() -> None:
    async def work(lines: Lines) -> None:
        protocol, wire = lines.connect()
        protocol.timeout_keep_alive = 0.01  # type: ignore[assignment]
        protocol.data_received(request(1))
        await asyncio.sleep(0.05)
        assert not wire.closed
        lines.burst.begin()
        await lines.settle()
        assert lines.seen
        await asyncio.sleep(0.05)
        assert wire.closed

    with_lines(work)


def test_request_that_waits_keeps_the_application_that_it_came_to() -> None:
    async def work(lines: Lines) -> None:
        protocol, wire = lines.connect()
        protocol.data_received(request(1))
        protocol.app = None  # type: ignore[assignment]  # a server that is about to end gives its connections another
        protocol.cycle.keep_alive = False
        lines.burst.begin()
        await lines.settle()
        assert lines.seen
        assert wire.closed

    with_lines(work)


def ask(client: Client, timeout_ms: int, waits_s: float, leaves: bool = False) -> bytes:
    """The answer for a request that began so long after it came."""

    async def main() -> bytes:
        lines = Lines()
        protocol, wire = lines.connect(entrance(client.app))
        protocol.data_received(request(1, timeout_ms))
        assert not lines.state.tasks
        await asyncio.sleep(waits_s)
        if leaves:
            protocol.connection_lost(None)
        lines.burst.begin()
        while lines.state.tasks:
            await asyncio.sleep(0.001)
        return b"".join(wire.writes)

    return client.run(main())


def test_what_it_waited_is_in_its_times(store: Path) -> None:
    with serving(store) as client:
        answer = ask(client, 60000, 0.04)
    assert answer.startswith(b"HTTP/1.1 200")
    found = re.search(rb"server-timing: queue;dur=([0-9.]+),.*total;dur=([0-9.]+)", answer)
    assert found is not None
    assert float(found[2]) >= float(found[1]) >= 40


def test_deadline_counts_from_its_arrival(store: Path) -> None:
    with serving(store) as client:
        answer = ask(client, 100, 0.15)
    assert answer.startswith(b"HTTP/1.1 504"), answer


def test_client_that_leaves_meanwhile_never_reaches_the_model(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(store) as client:
        asked: list[Any] = []
        run_graph = Batcher.run
        monkeypatch.setattr(Batcher, "run", lambda *given, **more: (asked.append(given), run_graph(*given, **more))[1])
        assert ask(client, 60000, 0.0, leaves=True) == b""
        assert asked == []
        assert client.app.state.context.metrics.under_way == 0


def test_server_has_all_begin_when_it_is_to_end(store: Path) -> None:
    async def main() -> None:
        settings = Settings(store=store)
        app = create_app(settings)
        server = Server(app, settings, socket.socket, bool)
        server.config.load()
        server.lifespan = server.config.lifespan_class(server.config)
        burst = server._protocol().burst
        assert burst is server._protocol().burst is app.state.shedder.burst
        called: list[int] = []
        burst.add(partial(called.append, 1), LATER_S)
        server._stop()
        assert called == [1]

    run(main())
