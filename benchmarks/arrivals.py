"""Load from this process, as fast as answers come; and what load of any kind brings."""

import asyncio
import math
import resource
import time
from dataclasses import dataclass, field

import uvloop

from benchmarks.connection import BROKEN, Connection, connect


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

    def add(self, began: float, status: int) -> None:
        """Take down an answer to what was begun then, by `time.perf_counter`."""
        now = time.perf_counter()
        self.latencies.setdefault(status, []).append(now - began)
        if now > self.end:
            self.after.setdefault(status, []).append(now - began)

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
    allow_connections()
    cpu = time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        answers = runner.run(_closed(port, request, connections, seconds))
    answers.cpu_s = time.process_time() - cpu
    return answers


def allow_connections() -> None:
    """As many files as this process may have: a connection for each request that waits."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _closed(port: int, request: bytes, connections: int, seconds: float) -> Answers:
    answers = Answers()
    end = time.perf_counter() + seconds

    def answered(connection: Connection, status: int) -> None:
        now = time.perf_counter()
        if now < end:
            answers.add(connection.began, status)
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
