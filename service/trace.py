"""What is known about the request at hand: for its access line, its problem document and its headers."""

import re
import secrets
import time
from dataclasses import dataclass, field

from starlette.types import Scope

_KEY = "genserve"
_SANE = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")


@dataclass
class Trace:
    """Filled in as the request goes along."""

    request_id: str
    started: float = field(default_factory=time.perf_counter)
    model: str | None = None
    n: int | None = None
    code: str | None = None


def begin_trace(scope: Scope) -> Trace:
    """A trace with the client's `X-Request-Id` if that is sane, else with a new id."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    trace = Trace(given.decode("ascii") if _SANE.fullmatch(given) else secrets.token_hex(8))
    scope[_KEY] = trace
    return trace


def trace_of(scope: Scope) -> Trace:
    """The trace that the middleware began."""
    found = scope[_KEY]
    assert isinstance(found, Trace)
    return found
