"""A load generator: connections that stay open, each sending its next request when it has the last answer."""

import asyncio
import time

import uvloop

from benchmarks.subject import BenchmarkError

_PATIENCE_S = 60.0


def drive(host: str, port: int, request: bytes, connections: int, seconds: float) -> list[float]:
    """Seconds that each request took, of all begun within `seconds`; at least one per connection.

    Raises:
        BenchmarkError: If an answer is not 200: whatever was measured is not what was meant.
    """

    async def connect_all() -> list[float]:
        end = time.perf_counter() + seconds
        found = await asyncio.gather(*(_connect(host, port, request, end) for _ in range(connections)))
        return [latency for latencies in found for latency in latencies]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(connect_all(), seconds + _PATIENCE_S))


async def _connect(host: str, port: int, request: bytes, end: float) -> list[float]:
    reader, writer = await asyncio.open_connection(host, port)
    latencies: list[float] = []
    now = time.perf_counter()
    try:
        while now < end or not latencies:
            writer.write(request)
            await _answer(reader)
            before, now = now, time.perf_counter()
            latencies.append(now - before)
    finally:
        writer.close()
        await writer.wait_closed()
    return latencies


async def _answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    body = await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0]))
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise BenchmarkError(f"expected 200; got {head[:30]!r}: {body[:300]!r}")
