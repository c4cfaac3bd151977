"""Clients that load a server fully, and of whom many leave before they have their answer."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Sequence

from benchmarks.connection import Connection, connect

LEFT = -1  # in place of a status
_LEAVING = 0.2  # share of requests
_LONGEST_S = 0.25  # before a leaver leaves
_RETRY_S = 0.1


async def load(port: int, requests: Sequence[bytes], clients: int, seconds: float, answers: Counter[int]) -> None:
    """Keep `clients` clients busy.

    Args:
        port: Of the server.
        requests: What is sent, drawn at random.
        clients: At once.
        seconds: For so long.
        answers: Counts of statuses, `LEFT` and `BROKEN` among them, added to while this runs.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.gather(*(_client(port, requests, random.Random(i), answers) for i in range(clients)))


async def _client(port: int, requests: Sequence[bytes], draw: random.Random, answers: Counter[int]) -> None:
    """Ask again and again on one connection, until it leaves in the middle or it breaks; then on the next."""
    while True:
        status: asyncio.Queue[int] = asyncio.Queue()

        def answered(_: Connection, found: int, status: asyncio.Queue[int] = status) -> None:
            status.put_nowait(found)

        try:
            connection = await connect(port, answered)
        except OSError:
            await asyncio.sleep(_RETRY_S)
            continue
        try:
            while connection.open:
                answers[await _ask(connection, draw.choice(requests), status, draw)] += 1
        finally:
            connection.leave()


async def _ask(connection: Connection, request: bytes, status: asyncio.Queue[int], draw: random.Random) -> int:
    connection.send(request)
    if draw.random() > _LEAVING:
        return await status.get()
    try:
        return await asyncio.wait_for(status.get(), _LONGEST_S * draw.random())
    except TimeoutError:
        connection.leave()
        return LEFT
