"""Refusals have a budget, and beyond it whoever asks again at once waits; nobody else does."""

import asyncio
import json
import math
import socket
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks.arrivals import Answers, closed_loop
from service import pacing
from service.app import create_app, entrance
from service.engine.batcher import Batcher
from service.pacing import Pace
from service.processes.server import Server
from service.settings import Settings
from tests.service.engine.fakes import run
from tests.service.load import quiet_process
from tests.service.support import Client, serving
from tests.service.wire import Wire, connect

NEVER = -math.inf
REFUSED = b'{"n": 3, "seed": 7}'  # the queue of `service` has no room for it
MANY = 256
HEAD = b"Host: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"


class Clock:
    """Stands in for `time` in `service.pacing`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(pacing, "time", made)
    return made


def spent(clock: Clock) -> Pace:
    """One whose budget is at its end."""
    pace = Pace(lambda: None)
    for _ in range(round(pacing._MOST)):
        pace.lets_out(clock.now)
    return pace


def hold(pace: Pace, sent: list[int], numbers: range) -> None:
    for number in numbers:
        pace.hold(partial(sent.append, number))


async def ticks(number: int = 3) -> None:
    await asyncio.sleep(number * pacing._TICK_S)


def test_budget_of_an_event_loop_is_what_was_saved_up(clock: Clock) -> None:
    pace = Pace(lambda: None)
    assert sum(pace.lets_out(clock.now) for _ in range(1000)) == pacing._MOST
    clock.now += 0.1
    assert sum(pace.lets_out(clock.now) for _ in range(1000)) == 0.1 * pacing._A_SECOND
    clock.now += 3600
    assert sum(pace.lets_out(clock.now) for _ in range(1000)) == pacing._MOST


def test_each_request_that_is_served_pays_for_some_refusals(clock: Clock) -> None:
    pace = spent(clock)
    for _ in range(5):
        pace.served()
    assert sum(pace.lets_out(clock.now) for _ in range(1000)) == 5 * pacing._FOR_EACH
    for _ in range(1000):
        pace.served()
    assert sum(pace.lets_out(clock.now) for _ in range(1000)) < pacing._MOST + pacing._FOR_EACH


def test_who_was_not_refused_just_before_never_waits(clock: Clock) -> None:
    pace = spent(clock)
    assert all(pace.lets_out(NEVER) for _ in range(1000))
    assert all(pace.lets_out(clock.now - 1.0) for _ in range(1000))
    assert not pace.lets_out(clock.now)


def test_refusals_go_out_in_their_order_as_the_budget_allows(clock: Clock) -> None:
    async def main() -> None:
        noted: list[int] = []
        sent: list[int] = []
        pace = spent(clock)
        pace._note = partial(noted.append, 1)
        hold(pace, sent, range(5))
        await ticks()
        assert sent == []
        clock.now += 2.0 / pacing._A_SECOND
        await ticks()
        assert sent == [0, 1]
        assert not pace.lets_out(clock.now)
        pace.served()
        assert not pace.lets_out(clock.now)  # others were there before
        await ticks()
        assert sent == [0, 1, 2, 3, 4]
        assert len(noted) == 5
        assert pace._timer is None

    run(main())


def test_no_refusal_waits_longer_than_a_quarter_of_a_second(clock: Clock) -> None:
    async def main() -> None:
        sent: list[int] = []
        pace = spent(clock)
        for _ in range(10_000):
            pace.lets_out(NEVER)
        hold(pace, sent, range(2))
        clock.now += 0.1
        hold(pace, sent, range(2, 3))
        await ticks()
        assert sent == []
        clock.now += 0.1501
        await ticks()
        assert sent == [0, 1]

    run(main())


def test_many_first_refusals_cost_the_others_a_second_or_two_and_not_more(clock: Clock) -> None:
    pace = spent(clock)
    for _ in range(10_000):
        pace.lets_out(NEVER)
    clock.now += 2 * pacing._MOST / pacing._A_SECOND
    assert pace.lets_out(clock.now)


def test_nothing_is_held_back_by_a_service_that_ends(clock: Clock) -> None:
    async def main() -> None:
        sent: list[int] = []
        pace = spent(clock)
        hold(pace, sent, range(3))
        pace.end()
        assert sent == [0, 1, 2]
        assert all(pace.lets_out(clock.now) for _ in range(1000))
        await ticks()
        assert sent == [0, 1, 2]

    run(main())


class Full:
    """A service whose queue is full, and that holds back every refusal but the first of a client."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.pace: Pace = client.app.state.pace

    def connect(self) -> Any:
        protocol, wire, _ = connect(entrance(self.client.app), 60.0)
        protocol.judge = self.client.app.state.shedder.judge
        protocol.pace = self.pace
        return protocol, wire

    def run(self, work: Callable[["Full"], Any]) -> None:
        async def main() -> None:
            waiting = asyncio.ensure_future(self.client.http.post("/sample", json={"n": 3, "seed": 1}))
            try:
                while not any(graph.queued_images for graph in self.client.app.state.context.engine_state().graphs):
                    await asyncio.sleep(0.001)
                await work(self)
            finally:
                waiting.cancel()
                await asyncio.wait((waiting,))

        self.client.run(main())


@pytest.fixture
def full(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Full]:
    with serving(store, queue_images=4, lanes=1) as client:
        monkeypatch.setattr(Batcher, "ready_at", lambda _: None)  # no lane takes what waits
        monkeypatch.setattr(Pace, "_credit_at", lambda *_: 0.0)
        monkeypatch.setattr(pacing, "_AT_ONCE_S", 60.0)
        monkeypatch.setattr(pacing, "_LONGEST_S", 60.0)
        client.app.state.pace._credit = 0.0
        yield Full(client)


def post(line: bytes) -> bytes:
    return line + b"\r\n" + HEAD % (len(REFUSED), REFUSED)


SHORT, USUAL = post(b"POST /sample HTTP/1.1"), post(b"POST /sample?quality=3 HTTP/1.1")


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def ask_until_held(protocol: Any, wire: Wire) -> None:
    for _ in range(3):  # it takes one refusal until the short way is taken, and one on it
        if not wire.paused:
            protocol.data_received(SHORT)
            await turns()
    assert wire.paused


@pytest.mark.parametrize("data", [SHORT, USUAL], ids=["short way", "usual way"])
def test_who_asks_again_at_once_has_an_answer_when_its_turn_comes(full: Full, data: bytes) -> None:
    async def work(full: Full) -> None:
        protocol, wire = full.connect()
        protocol.data_received(data)
        await turns()
        assert len(wire.writes) == 1
        protocol.data_received(data)
        await turns()
        assert len(wire.writes) == 1
        full.pace.end()
        await turns()
        assert len(wire.writes) == 2
        assert [write[:12] for write in wire.writes] == [b"HTTP/1.1 503"] * 2
        assert not wire.paused
        protocol.connection_lost(None)

    full.run(work)


def test_nothing_is_read_from_a_client_whose_refusal_is_held_back(full: Full) -> None:
    async def work(full: Full) -> None:
        protocol, wire = full.connect()
        await ask_until_held(protocol, wire)
        held = len(wire.writes)
        full.pace.end()
        assert (wire.paused, len(wire.writes)) == (False, held + 1)
        protocol.data_received(SHORT)
        assert len(wire.writes) == held + 2
        protocol.connection_lost(None)

    full.run(work)


def test_nobody_is_answered_who_has_left_meanwhile(full: Full) -> None:
    async def work(full: Full) -> None:
        protocol, wire = full.connect()
        await ask_until_held(protocol, wire)
        written = len(wire.writes)
        wire.close()
        full.pace.end()
        assert len(wire.writes) == written
        protocol.connection_lost(None)

    full.run(work)


def test_what_is_held_back_is_counted_as_such_and_as_refused_when_it_goes_out(full: Full) -> None:
    def refused() -> str:
        lines = full.client.app.state.context.metrics.render().decode().splitlines()
        return next(line.split()[-1] for line in lines if 'route="/sample",status="503"' in line)

    async def work(full: Full) -> None:
        protocol, wire = full.connect()
        await ask_until_held(protocol, wire)
        assert refused() == "1.0"
        full.pace.end()
        assert refused() == "2.0"
        protocol.connection_lost(None)

    full.run(work)
    assert "genserve_refusals_held_total 1.0" in full.client.get("/metrics").text


def test_images_that_were_answered_pay_for_refusals_and_nothing_else_does(store: Path) -> None:
    with serving(store) as client:
        pace: Pace = client.app.state.pace
        pace._credit = 0.0
        assert client.get("/health/live").status_code == 200
        assert client.post("/sample", json={"n": 0}).status_code == 422
        assert client.post("/sample", json={"n": 1, "model": "nobody"}).status_code == 404
        assert pace._credit == 0.0
        assert client.post("/sample", json={"n": 3}).status_code == 200
        assert pace._credit == pacing._FOR_EACH


def test_server_that_is_to_end_holds_nothing_back(store: Path, clock: Clock) -> None:
    settings = Settings(store=store)
    app = create_app(settings)
    Server(app, settings, socket.socket, bool)._stop()
    assert all(app.state.pace.lets_out(clock.now) for _ in range(2000))


def storm(url: str, connections: int, seconds: float, timeout_ms: int) -> Answers:
    body = json.dumps({"model": "fashion-vae", "n": 64, "seed": 7}).encode()
    head = b"POST /sample HTTP/1.1\r\nAccept: application/octet-stream\r\nX-Timeout-Ms: %d\r\n" % timeout_ms
    return closed_loop(int(url.rsplit(":", 1)[1]), head + HEAD % (len(body), body), connections, seconds)


@pytest.mark.slow
def test_model_goes_on_while_hundreds_ask_again_at_once() -> None:
    with quiet_process(Path("models"), GENSERVE_QUEUE_IMAGES="1024") as (_, url):
        storm(url, 8, 1.0, 60_000)  # what a batch takes is known
        calm = storm(url, 8, 3.0, 60_000)
        wild = storm(url, MANY, 3.0, 150)
        with urllib.request.urlopen(f"{url}/metrics") as answer:
            metrics = answer.read().decode()
    assert {*calm.latencies} == {200}
    assert {*wild.latencies} <= {200, 503, 504}
    held = float(metrics.split("\ngenserve_refusals_held_total ")[1].split()[0])
    served, refused = len(wild.of(200)), len(wild.of(503))
    assert held > 0
    earned = pacing._A_SECOND * 3.5 + (pacing._FOR_EACH + 1) * (served + MANY)
    assert refused - held <= MANY + pacing._MOST + earned
    assert served > 0.4 * len(calm.of(200))
