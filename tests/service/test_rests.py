"""While it refuses, an event loop rests once all is taken in that has come, and never for long."""

import asyncio
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import uvloop

from service import rests, supervision
from service.app import create_app
from service.processes.server import Server
from service.rests import Rests
from service.settings import Settings
from tests.service.scene import Scene, post, split
from tests.service.wire import connect

LONG_S = 60.0  # of what the lanes have to do


class Clock:
    """Time that passes only while somebody sleeps, or as a test says."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(rests, "time", made)
    return made


async def turns(n: int = 10) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


def refused(rests: Rests, backlog_s: float) -> None:
    rests.came += 1
    rests.want(backlog_s)


def talk(work: Callable[[Rests], object], over: Callable[[], None] = lambda: None) -> None:
    async def main() -> None:
        await work(Rests(over))  # type: ignore[misc]

    asyncio.run(main())


def test_from_the_end_of_one_to_the_end_of_the_next_are_twelve_milliseconds(clock: Clock) -> None:
    async def work(rests: Rests) -> None:
        refused(rests, LONG_S)
        await turns()
        assert clock.slept == []  # the first one ends at once: nobody has rested before
        for busy_s in (0.003, 0.0, 0.011, 0.013, 5.0, 0.002):
            clock.now += busy_s
            refused(rests, LONG_S)
            await turns()

    talk(work)
    assert clock.slept == [0.009, 0.012, 0.001, 0.01]


def test_nobody_rests_who_was_not_asked_to(clock: Clock) -> None:
    async def work(rests: Rests) -> None:
        for _ in range(5):
            rests.came += 1
            await turns()

    talk(work)
    assert clock.slept == []


def test_all_that_comes_is_taken_in_first(clock: Clock) -> None:
    async def work(rests: Rests) -> None:
        refused(rests, LONG_S)
        await turns()
        refused(rests, LONG_S)
        for _ in range(20):  # as where connections come one in each turn
            rests.came += 1
            await asyncio.sleep(0)
            assert clock.slept == []
        await turns(3)
        assert clock.slept == [0.012]

    talk(work)


def test_a_connection_that_is_read_from_a_turn_later_is_waited_for(clock: Clock) -> None:
    async def work(rests: Rests) -> None:
        refused(rests, LONG_S)
        await turns()
        refused(rests, LONG_S)
        for _ in range(6):
            rests.came += 1
            await turns(2)
            assert clock.slept == []

    talk(work)


def test_all_who_connect_at_once_are_accepted_before_it_rests(clock: Clock) -> None:
    async def main() -> None:
        loop, rests = asyncio.get_running_loop(), Rests(lambda: None)
        connected: list[asyncio.BaseTransport] = []

        class Connection(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                rests.came += 1
                connected.append(transport)

        server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=100)
        address = server.sockets[0].getsockname()
        refused(rests, LONG_S)
        await turns()
        clients = [socket.create_connection(address) for _ in range(50)]
        refused(rests, LONG_S)
        while not clock.slept:
            await asyncio.sleep(0)
        assert len(connected) == 50
        for client in clients:
            client.close()
        server.close()

    uvloop.run(main())


def test_a_deadline_that_passes_in_a_rest_is_the_engines_first() -> None:
    assert supervision._AFTER_THE_ENGINE_S > rests.LONGEST_S


def test_a_rest_is_a_tenth_of_the_shortest_backlog_at_most(clock: Clock) -> None:
    async def work(rests: Rests) -> None:
        for backlogs in ((LONG_S,), (LONG_S, 0.03, 0.05), (0.02,), (LONG_S,), (0.0,)):
            for backlog_s in backlogs:
                refused(rests, backlog_s)
            await turns()

    talk(work)
    assert clock.slept == [0.003, 0.002, 0.012]


def test_who_wants_to_know_hears_of_each_that_is_over(clock: Clock) -> None:
    over: list[float] = []

    async def work(rests: Rests) -> None:
        for n in (1, 2):
            refused(rests, LONG_S)
            refused(rests, LONG_S)
            await turns()
            assert len(over) == n

    talk(work, lambda: over.append(clock.now))
    assert over == [100.0, 100.012]


def test_at_the_end_of_the_service_there_are_no_more(clock: Clock) -> None:
    async def work(rests: Rests) -> None:
        refused(rests, LONG_S)
        await turns()
        refused(rests, LONG_S)
        rests.end()
        await turns()
        refused(rests, LONG_S)
        await turns()

    talk(work)
    assert clock.slept == []


def test_a_server_that_stops_has_no_more_of_them(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(store=store)
    app = create_app(settings)
    ended: list[int] = []
    monkeypatch.setattr(app.state.shedder.rests, "end", lambda: ended.append(1))
    Server(app, settings, socket.socket, bool)._stop()
    assert ended == [1]


def test_connections_of_a_server_count_what_comes(store: Path) -> None:
    settings = Settings(store=store)
    app = create_app(settings)

    async def main() -> None:
        server = Server(app, settings, socket.socket, bool)
        server.config.load()
        server.lifespan = SimpleNamespace(state={})  # type: ignore[assignment]
        made, (_, wire, _) = server._protocol(), connect(app)
        rests = app.state.shedder.rests
        assert made.rests is rests
        made.connection_made(wire)
        assert rests.came == 1
        made.data_received(b"POST /sa")
        made.data_received(b"mple HTTP/1.1\r\n")
        assert rests.came == 3
        made.connection_lost(None)

    asyncio.run(main())


def test_the_event_loop_rests_after_refusals_and_then_judges_anew(
    scene: Scene, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.standing._LONGEST_S", LONG_S)
    monkeypatch.setattr("service.model.Model.backlog_s", lambda _, graph: {"decode": 1e9}[graph])
    judged: list[object] = []
    promise = type(scene.client.app.state.context.catalog().find("fashion-vae")).promise
    monkeypatch.setattr("service.model.Model.promise", lambda *given: judged.append(given) or promise(*given))

    async def main(scene: Scene) -> None:
        await scene.ask(post())
        assert clock.slept == []  # refused on the usual way
        for n in (1, 2, 3):
            for _ in range(4):
                assert callable(scene.shedder.judge(*split(post())))
            assert len(judged) == n
            await turns()
            assert len(clock.slept) == n - 1
        assert scene.shedder.judge(*split(post(b'{"n": 1, "latents": []}'))) is None
        await turns()
        assert len(clock.slept) == 2  # nobody was refused

    scene.run(main)
