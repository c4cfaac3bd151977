"""What is known about the request at hand: for its access line, its metrics, its headers and its problem document."""

import itertools
import re
import secrets
import time
from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any

from starlette.types import Scope

from service.engine.places import Place
from service.engine.timings import Timings

_KEY = "genserve"
_SANE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
_PROCESS = secrets.token_hex(6)  # random once: a system call for each request would cost more than all else here
_COUNT = itertools.count(secrets.randbits(16))

_request_id: ContextVar[str | None] = ContextVar("request_id", default=None)


class Trace:
    """Filled in as the request goes along; seconds.

    Attributes:
        request_id: The client's, or a new one.
        headers: Of the request, the last of each name.
        started: When it came, by `time.perf_counter`.
        waited_s: How long it had waited then, because it had been let in while others were before it.
        place: That it was promised then.
        alone: When it came, nobody else had asked since the same connection did.
        route: Template of the path, so that there are few.
        model: name@version, where it is about one; `name` and `version` are its parts.
        n: Images asked for.
        images: Images answered.
        code: Of the problem document, if it was one.
        timings: What the engine took; several graphs add up.
        encode_s: Compressing the images.
        send_s: Handing the answer to the connection; a slow reader shows here.
    """

    __slots__ = (
        "alone",
        "code",
        "encode_s",
        "headers",
        "images",
        "model",
        "n",
        "name",
        "place",
        "request_id",
        "route",
        "send_s",
        "started",
        "timings",
        "version",
        "waited_s",
    )

    def __init__(
        self,
        request_id: str,
        headers: Mapping[bytes, bytes] = MappingProxyType({}),
        waited_s: float = 0.0,
        place: Place | None = None,
    ) -> None:
        self.request_id = request_id
        self.headers = headers
        self.started = time.perf_counter() - waited_s
        self.waited_s = waited_s
        self.place = place
        self.alone = False
        self.route = "unmatched"
        self.model: str | None = None
        self.name: str | None = None
        self.version: int | None = None
        self.n: int | None = None
        self.images = 0
        self.code: str | None = None
        self.timings = Timings(queue_s=waited_s)
        self.encode_s = self.send_s = 0.0

    def about(self, name: str, version: int, n: int | None = None) -> None:
        """Say which model the request is about, and how many images it asks for."""
        self.name, self.version, self.n = name, version, n
        self.model = f"{name}@{version}"

    def lines(self) -> bytes:
        """The head lines of every answer, each with its line end."""
        return b"x-request-id: %b\r\nserver-timing: %b\r\n" % (self.request_id.encode("ascii"), self.server_timing())

    def server_timing(self) -> bytes:
        """The `Server-Timing` header (W3C): what the request took so far, in milliseconds."""
        total = 1e3 * (time.perf_counter() - self.started)
        if self.name is None:
            return b"total;dur=%.3f" % total
        t = self.timings
        return b"queue;dur=%.3f, batch;dur=%.3f, compute;dur=%.3f, encode;dur=%.3f, total;dur=%.3f" % (
            1e3 * t.queue_s,
            1e3 * t.batch_s,
            1e3 * t.compute_s,
            1e3 * self.encode_s,
            total,
        )


def begin_trace(scope: Scope, waited_s: float = 0.0, place: Place | None = None) -> Trace:
    """A trace with the client's `X-Request-Id` if that is sane, else with a new id.

    Args:
        scope: Of the request.
        waited_s: Seconds since it came.
        place: That it was promised.
    """
    headers: dict[bytes, bytes] = dict(scope["headers"])
    request_id = request_id_for(headers.get(b"x-request-id"))
    trace = scope[_KEY] = Trace(request_id, headers, waited_s, place)
    _request_id.set(request_id)  # each request is a task of its own, and so has a context of its own
    return trace


def request_id_for(given: bytes | None) -> str:
    """The client's, if that is sane, else a new one."""
    if given is not None and _SANE.fullmatch(given):
        return given.decode("ascii")
    return f"{_PROCESS}{next(_COUNT):08x}"


def trace_of(scope: Scope) -> Trace:
    """The trace that the middleware began."""
    found = scope[_KEY]
    assert isinstance(found, Trace)
    return found


def add_request_id(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """For structlog: the id of the request that a line is about, if it is about one."""
    request_id = _request_id.get()
    return event if request_id is None else event | {"request_id": request_id}
