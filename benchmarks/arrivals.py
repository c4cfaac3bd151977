"""Load of two kinds from this process: closed (as fast as answers come) and open (at a rate, whatever comes of it)."""

import asyncio
import math
import random
import resource
import time
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any

import uvloop

from benchmarks.connection import BROKEN, Connection, connect
from benchmarks.errors import BenchmarkError

_AFTER_S = 10.0  # for answers to what was sent last
_MOST_CONNECTIONS = 10_000
_TICK_S = 0.001  # see `_OpenLoop`
_TURNS = 3  # of the event loop after a tick: it reads, and goes on connecting


@dataclass
class Answers:
    """What came back.

    Attributes:
        seconds: For how long requests were sent.
        latencies: Seconds from when a request was begun, by connecting where that was needed, to its answer, by status;
            `BROKEN` for none.
        lags: Seconds from when a request was due until it was begun.
        cpu_s: CPU seconds of this process meanwhile.
        end: When the last request was due, by `time.perf_counter`.
        after: Latencies of what came after that, by status: nobody asked any more, so it says nothing of the load.
    """

    seconds: float = 0.0
    latencies: dict[int, list[float]] = field(default_factory=dict)
    lags: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    end: float = math.inf
    after: dict[int, list[float]] = field(default_factory=dict)

    def add(self, connection: Connection, status: int) -> None:
        """Take down an answer."""
        now = time.perf_counter()
        self.latencies.setdefault(status, []).append(now - connection.began)
        if now > self.end:
            self.after.setdefault(status, []).append(now - connection.began)

    def of(self, status: int) -> list[float]:
        """Latencies of a status."""
        return self.latencies.get(status, [])

    @property
    def count(self) -> int:
        """All answers."""
        return sum(len(found) for found in self.latencies.values())


def closed_loop(port: int, request: bytes, connections: int, seconds: float) -> Answers:
    """Send a request on each connection whenever its last answer has come.

    Raises:
        BenchmarkError: If a connection breaks.
    """
    return _run(_closed(port, request, connections, seconds))


def open_loop(port: int, request: bytes, rate: float, seconds: float) -> Answers:
    """Send `rate` requests a second, their gaps exponentially distributed, and wait for all answers.

    Raises:
        BenchmarkError: If more than 10,000 wait for an answer at once.
    """
    return _run(_OpenLoop(port, request).run(rate, seconds))


def _run(work: Coroutine[Any, Any, Answers]) -> Answers:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection for each request that waits
    cpu = time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(work)
    answers.cpu_s = time.process_time() - cpu
    return answers


async def _closed(port: int, request: bytes, connections: int, seconds: float) -> Answers:
    answers = Answers()
    end = time.perf_counter() + seconds

    def answered(connection: Connection, status: int) -> None:
        now = time.perf_counter()
        if now < end:
            answers.add(connection, status)
            if status != BROKEN:
                connection.began = now
                connection.send(request)

    opened = [await connect(port, answered) for _ in range(connections)]
    start = time.perf_counter()
    for connection in opened:
        connection.began = start
        connection.send(request)
    await asyncio.sleep(end - start)
    for connection in opened:
        connection.leave()
    answers.seconds = time.perf_counter() - start
    return answers


class _OpenLoop:
    """Requests that begin when they are due, each on a connection that waits for no answer: a new one if need be.

    Between ticks it sleeps, whatever comes: what is due meanwhile begins together, and answers are found up to a tick
    after they came. A generator that each answer wakes takes the server's event loop off its core in the middle of its
    work, a thousand times a second; clients on machines of their own do not
    (docs/decisions/0011-refusing-at-the-door.md).
    """

    def __init__(self, port: int, request: bytes) -> None:
        self.answers = Answers()
        self._port = port
        self._request = request
        self._opened: list[Connection] = []
        self._idle: list[Connection] = []
        self._opening: set[asyncio.Task[None]] = set()

    async def run(self, rate: float, seconds: float) -> Answers:
        """See `open_loop`."""
        draw = random.Random(0)
        due = start = time.perf_counter()
        self.answers.end = start + seconds
        while due < start + seconds:
            await self._tick()
            now = time.perf_counter()
            while due <= now and due < start + seconds:
                self._begin(due)
                due += draw.expovariate(rate)
            if self._waiting > _MOST_CONNECTIONS:
                raise BenchmarkError(f"{_MOST_CONNECTIONS} requests wait for an answer at once: nothing is refused")
        give_up = time.perf_counter() + _AFTER_S
        while self._waiting and time.perf_counter() < give_up:
            await self._tick()
        self.answers.latencies.setdefault(BROKEN, []).extend([_AFTER_S] * self._waiting)
        for connection in self._opened:
            connection.leave()
        self.answers.seconds = seconds
        return self.answers

    async def _tick(self) -> None:
        await asyncio.sleep(0)  # what was begun goes out
        time.sleep(_TICK_S)  # and so does the event loop: that is the point
        for _ in range(_TURNS):
            await asyncio.sleep(0)

    @property
    def _waiting(self) -> int:
        return len(self.answers.lags) - self.answers.count

    def _begin(self, due: float) -> None:
        began = time.perf_counter()
        self.answers.lags.append(began - due)
        while self._idle and not self._idle[-1].open:
            self._idle.pop()
        if self._idle:
            self._send(self._idle.pop(), began)
        else:
            task = asyncio.create_task(self._connect_and_send(began))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _connect_and_send(self, began: float) -> None:
        try:
            connection = await connect(self._port, self._answered)
        except OSError:
            self.answers.latencies.setdefault(BROKEN, []).append(time.perf_counter() - began)
            return
        self._opened.append(connection)
        self._send(connection, began)

    def _send(self, connection: Connection, began: float) -> None:
        connection.began = began
        connection.send(self._request)

    def _answered(self, connection: Connection, status: int) -> None:
        self.answers.add(connection, status)
        if status != BROKEN:
            self._idle.append(connection)
