"""Clients that keep a running service busy, each on a thread, and note all that becomes of their requests."""

import http.client
import json
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.service.support import process

_PATIENCE_S = 60.0


@contextmanager
def quiet_process(store: Path, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """A process as `support.process` makes it, whose access log does not fill the pipe that nobody reads."""
    with process(store, GENSERVE_LOG_LEVEL="warning", **environment) as running:
        yield running


@dataclass
class Outcomes:
    """What became of the requests of all clients.

    Attributes:
        statuses: Whole answers, by status, or by code where they are problem documents.
        broken: Connections that were made and then lost without a whole answer.
        refused: Connections that could not be made.
    """

    statuses: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    refused: int = 0
    ending: threading.Event = field(default_factory=threading.Event)

    @property
    def answered(self) -> int:
        """Requests that were answered with 200."""
        return self.statuses["200"]


@contextmanager
def clients(
    url: str, keeping: int, fresh: int, bodies: Sequence[dict[str, Any]] = ({"n": 2, "seed": 1},)
) -> Iterator[Outcomes]:
    """Clients that ask for /sample, over and over, until the block is left or the service says that it ends.

    They keep to the rules of HTTP: who is told `Connection: close` sends nothing more on that connection. The first
    kind then stops; the second goes on until it is told so or can connect no more.

    Args:
        url: Of the service.
        keeping: Clients that keep their connection.
        fresh: Clients that open one for each request.
        bodies: Asked for in turns.
    """
    outcomes = Outcomes()
    threads = [
        threading.Thread(target=_ask, args=(url, outcomes, i < keeping, bodies[i % len(bodies)]))
        for i in range(keeping + fresh)
    ]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        outcomes.ending.set()
        for thread in threads:
            thread.join(_PATIENCE_S)
    assert not any(thread.is_alive() for thread in threads)


def _ask(url: str, outcomes: Outcomes, keep: bool, body: dict[str, Any]) -> None:
    while not outcomes.ending.is_set():
        connection = _connect(url, outcomes)
        if connection is None:
            return
        with closing(connection):
            told = _ask_over(connection, outcomes, keep, body)
        if keep or told is None:
            return


def _ask_over(
    connection: http.client.HTTPConnection, outcomes: Outcomes, keep: bool, body: dict[str, Any]
) -> bool | None:
    """Whether the service said that the connection ends; None if it broke."""
    told = False
    while not told and not outcomes.ending.is_set():
        try:
            told = _exchange(connection, outcomes, body)
        except (OSError, http.client.HTTPException) as error:
            outcomes.broken.append(repr(error))
            return None
        if not keep:
            break
    return told


def _connect(url: str, outcomes: Outcomes) -> http.client.HTTPConnection | None:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=_PATIENCE_S)
    connection.auto_open = 0
    try:
        connection.connect()
    except OSError:
        outcomes.refused += 1
        return None
    assert connection.sock is not None
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # the head and the body apart
    return connection


def _exchange(connection: http.client.HTTPConnection, outcomes: Outcomes, body: dict[str, Any]) -> bool:
    connection.request("POST", "/sample", json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    content = answer.read()
    ended = answer.status == 503 and json.loads(content)["code"] == "stopping"
    outcomes.statuses["stopping" if ended else str(answer.status)] += 1
    return ended or answer.getheader("connection", "") == "close"
