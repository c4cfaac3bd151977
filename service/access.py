"""The access log: one line per request, made and written a few at a time.

Each write is a system call, and what is made later does not stand between an answer and the next request.
"""

import asyncio
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from select import PIPE_BUF

import orjson
import structlog

from service.metrics import METHODS
from service.settings import Settings
from service.trace import Trace

_MOST_LINES = 64  # made in one go: while that lasts nobody is answered
_DELAY_S = 0.1  # that a line may wait before it is written
QUIET = ("/health/live", "/health/ready", "/metrics")  # who polls these would drown the rest


# Request id, route, model, n, code of its problem; method, status, seconds, time of day.
_Done = tuple[str, str, str | None, int | None, str | None, str, int, float, float]


class AccessLog:
    """Writes to stderr, beside all other lines and in their format.

    At level `info`; probes and metrics only at `debug`.
    """

    def __init__(self, settings: Settings) -> None:
        level = logging.getLevelNamesMapping()[settings.log_level.upper()]
        self._on = level <= logging.INFO
        self._all = level <= logging.DEBUG
        self._render = _json if settings.log_format == "json" else _text
        self._done: list[_Done] = []
        self._timer: asyncio.TimerHandle | None = None

    def add(self, trace: Trace, method: str, status: int, seconds: float) -> None:
        """A request was answered."""
        if self._all if trace.route in QUIET else self._on:
            self._note(
                (trace.request_id, trace.route, trace.model, trace.n, trace.code, method, status, seconds, time.time())
            )

    def note(
        self, request_id: str, route: str, model: str, n: int, code: str, method: str, status: int, seconds: float
    ) -> None:
        """The same, of a request that nothing else is known of."""
        if self._on:
            self._note((request_id, route, model, n, code, method, status, seconds, time.time()))

    def _note(self, done: _Done) -> None:
        self._done.append(done)
        if len(self._done) >= _MOST_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_DELAY_S, self.flush)

    def flush(self) -> None:
        """Write what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._done:
            done, self._done = self._done, []
            for text in _whole(map(self._render, done)):
                sys.stderr.write(text)
                sys.stderr.flush()


def _whole(lines: Iterable[str]) -> Iterator[str]:
    """Lines that go out together: no more than a pipe takes in one piece, or those of other processes come between."""
    text, size = "", 0
    for line in lines:
        more = len(line.encode())
        if text and size + more > PIPE_BUF:
            yield text
            text, size = "", 0
        text += line
        size += more
    yield text


def _json(done: _Done) -> str:
    """By hand, in a fifth of the time: no value needs escapes but the method, which any client can make up."""
    request_id, route, model, n, code, method, status, seconds, now = done
    known = f'"{method}"' if method in METHODS else orjson.dumps(method).decode()
    return (
        f'{{"event":"request","request_id":"{request_id}","route":"{route}","method":{known},'
        f'"status":{status},"ms":{seconds * 1000:.3f},"model":{_quoted(model)},"n":{"null" if n is None else n},'
        f'"code":{_quoted(code)},"level":"{_level(route)}","timestamp":"{_time(now)}"}}\n'
    )


def _quoted(text: str | None) -> str:
    return "null" if text is None else f'"{text}"'


def _text(done: _Done) -> str:
    request_id, route, model, n, code, method, status, seconds, now = done
    line = {
        "event": "request",
        "request_id": request_id,
        "route": route,
        "method": method,
        "status": status,
        "ms": round(seconds * 1000, 3),
        "model": model,
        "n": n,
        "code": code,
        "level": _level(route),
        "timestamp": _time(now),
    }
    return f"{_console(None, _level(route), line)}\n"


def _level(route: str) -> str:
    return "debug" if route in QUIET else "info"


def _time(now: float) -> str:
    return f"{_second(int(now))}.{int(now % 1 * 1e6):06d}Z"


@lru_cache(maxsize=4)
def _second(now: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))


_console = structlog.dev.ConsoleRenderer()
