"""A load generator: connections that stay open, each sending its next request when it has the last answer."""

import asyncio
import time
from dataclasses import dataclass

import uvloop

_PATIENCE_S = 60.0


class BadAnswerError(Exception):
    """The server did not answer 200: whatever was measured is not what was meant."""


@dataclass(frozen=True)
class Request:
    """A POST as it goes over the wire."""

    host: str
    port: int
    content: bytes


def post(host: str, port: int, path: str, accept: str, body: bytes) -> Request:
    """A request of JSON, to be sent again and again on one connection."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: {accept}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return Request(host, port, head.encode("ascii") + body)


def drive(request: Request, connections: int, seconds: float) -> list[float]:
    """Seconds that each request took, of all that were begun within `seconds`; at least one per connection.

    Raises:
        BadAnswerError: If an answer is not 200.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(asyncio.wait_for(_drive(request, connections, seconds), seconds + _PATIENCE_S))


async def _drive(request: Request, connections: int, seconds: float) -> list[float]:
    streams = [await asyncio.open_connection(request.host, request.port) for _ in range(connections)]
    try:
        end = time.perf_counter() + seconds
        found = await asyncio.gather(*(_repeat(reader, writer, request.content, end) for reader, writer in streams))
    finally:
        for _, writer in streams:
            writer.close()
    return [latency for latencies in found for latency in latencies]


async def _repeat(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes, end: float
) -> list[float]:
    latencies: list[float] = []
    now = time.perf_counter()
    while now < end or not latencies:
        writer.write(content)
        await _answer(reader)
        before, now = now, time.perf_counter()
        latencies.append(now - before)
    return latencies


async def _answer(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    body = await reader.readexactly(length)
    if b" 200 " not in head.partition(b"\r\n")[0]:
        raise BadAnswerError(f"expected 200; got {head[:30]!r}: {body[:300]!r}")
