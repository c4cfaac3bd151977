"""The generators against servers whose behaviour is known."""

import asyncio
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count

import pytest
import uvloop

from benchmarks.arrivals import closed_loop
from benchmarks.connection import BROKEN, Connection
from benchmarks.leavers import LEFT, load
from benchmarks.open_loop import _OpenLoop, open_loop
from benchmarks.wrk import Request

REQUEST = Request("/", {}, b"{}").raw()
ANSWER = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\nX: y\r\n\r\nhello"


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        self.aborted = False

    def write(self, data: object) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True


def connected(found: list[int]) -> Connection:
    """A connection with a request under way."""
    connection = Connection(lambda _, status: found.append(status))
    connection.connection_made(Transport())
    connection.send(REQUEST)
    return connection


@contextmanager
def serving(
    statuses: list[int], delay_s: float = 0.0, body: bytes = b"abc", close: bool = False, more: bytes = b""
) -> Iterator[int]:
    """A server that answers with these statuses in turn; its port."""
    numbers = count()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(delay_s)
            status = statuses[next(numbers) % len(statuses)]
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = close
            if more:
                time.sleep(0.01)
                self.wfile.write(more)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its signature)
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 128

        def handle_error(self, request: object, client_address: object) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.mark.parametrize("size", [1, 7, len(ANSWER)])
def test_answer_is_understood_in_pieces_of_any_size(size: int) -> None:
    found: list[int] = []
    connection = connected(found)
    for begin in range(0, len(ANSWER), size):
        assert found == []
        connection.data_received(ANSWER[begin : begin + size])
    assert found == [503]


def test_connection_that_breaks_off_counts_as_broken() -> None:
    found: list[int] = []
    connection = connected(found)
    connection.data_received(ANSWER[:-1])
    connection.connection_lost(None)
    assert found == [BROKEN]


def test_client_that_leaves_gets_no_answer() -> None:
    found: list[int] = []
    connection = connected(found)
    connection.leave()
    connection.connection_lost(None)
    assert found == []


def test_closed_loop_counts_answers_by_status() -> None:
    with serving([200, 200, 503]) as port:
        answers = closed_loop(port, REQUEST, connections=2, seconds=0.3)
    assert answers.of(200)
    assert len(answers.of(200)) == pytest.approx(2 * len(answers.of(503)), abs=4)
    assert set(answers.latencies) == {200, 503}


def test_open_loop_keeps_its_rate_when_answers_are_late() -> None:
    """A closed loop over one connection would send 10 a second to a server that takes 100 ms."""
    with serving([200], delay_s=0.1) as port:
        answers = open_loop(port, REQUEST, rate=100.0, seconds=1.0)
    assert 60 < answers.count < 150
    assert len(answers.of(200)) == answers.count == len(answers.lags)
    assert min(answers.of(200)) > 0.1


def test_open_loop_counts_what_is_never_answered_as_broken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)

        def hang_up(until: float) -> None:
            while time.monotonic() < until:
                with suppress(TimeoutError):
                    connection, _ = listener.accept()
                    connection.recv(10)
                    connection.close()

        thread = threading.Thread(target=hang_up, args=(time.monotonic() + 2.0,))
        thread.start()
        answers = open_loop(listener.getsockname()[1], REQUEST, rate=50.0, seconds=0.5)
        thread.join()
    assert len(answers.of(BROKEN)) == answers.count == len(answers.lags) > 5


def test_open_loop_does_not_use_a_connection_again_that_ended_with_its_answer() -> None:
    with serving([200], close=True) as port:
        answers = open_loop(port, REQUEST, rate=50.0, seconds=0.5)
    assert len(answers.of(200)) + len(answers.of(BROKEN)) == answers.count == len(answers.lags)
    assert len(answers.of(200)) > 5


def test_open_loop_takes_nothing_for_an_answer_that_nobody_asked_for() -> None:
    with serving([200], more=ANSWER) as port, _OpenLoop(port, REQUEST) as loop:
        loop._begin(time.perf_counter())
        until = time.monotonic() + 10.0
        while loop._clients and time.monotonic() < until:
            loop._tick()
        assert (loop._clients, loop._idle, loop._waiting) == ({}, [], 0)
        assert {status: len(found) for status, found in loop.answers.latencies.items()} == {200: 1}


def test_open_loop_survives_that_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    answers = open_loop(port, REQUEST, rate=50.0, seconds=0.5)
    assert len(answers.of(BROKEN)) == answers.count == len(answers.lags) > 5


def test_open_loop_reads_answers_that_come_in_pieces_and_uses_connections_again() -> None:
    with serving([200, 503], body=b"x" * 3_000_000) as port:
        answers = open_loop(port, REQUEST, rate=20.0, seconds=0.5)
    assert answers.of(200)
    assert answers.of(503)
    assert len(answers.of(200)) + len(answers.of(503)) == answers.count == len(answers.lags)


def test_leavers_leave_and_the_others_are_answered() -> None:
    answers: Counter[int] = Counter()
    with serving([200], delay_s=0.1) as port, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(load(port, [REQUEST], clients=8, seconds=1.5, answers=answers))
    assert answers[200] > 0
    assert answers[LEFT] > 0
    assert answers[BROKEN] == 0
