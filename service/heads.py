"""Heads of requests that the parser has read: the same bytes mean the same once more, and need not be read again.

Most clients send the same head again and again. uvicorn's parser calls Python for each line of it, so reading it takes
longer than anything else before the application. What is remembered is what the parser made of those very bytes, and
only of whole plain requests: nothing here reads a head itself.
"""

from typing import Any, NamedTuple

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

_MOST = 256
# They say how a message is framed, or what becomes of the connection: that is always for the parser.
FRAMING = frozenset({b"connection", b"expect", b"te", b"trailer", b"transfer-encoding", b"upgrade"})
PERSISTENT = b"keep-alive"  # a `Connection` that goes without saying
NEVER_THE_SAME = frozenset({b"x-request-id", b"traceparent"})
_IN_THE_HEAD = ("type", "asgi", "http_version", "root_path", "method", "path", "raw_path", "query_string")  # of a scope


class Head(NamedTuple):
    """What the parser has made of a head.

    Attributes:
        scope: Of the request, but for its headers, and what belongs to its connection.
        headers: Names and values, as in a scope.
        length: Of the body, in bytes.
    """

    scope: dict[str, Any]
    headers: tuple[tuple[bytes, bytes], ...]
    length: int


class Heads:
    """Of one application, for all its connections."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def find(self, head: bytes, body: bytes) -> Head | None:
        """What the parser made of the same bytes before; None if it has to read them, or this is not a whole request.

        Args:
            head: With its empty line.
            body: All that came behind it.
        """
        known = self._known.get(head)
        return known if known is not None and known.length == len(body) else None

    def remember(self, head: bytes, body: bytes, cycle: RequestResponseCycle) -> None:
        """Note what the parser has just made of a request, before it is answered, unless it is unusual.

        Args:
            head, body: As for `find`, and all that came.
            cycle: Made of it.
        """
        scope: dict[str, Any] = cycle.scope  # type: ignore[assignment]
        headers = tuple(scope["headers"])
        # A body that has as many bytes as came behind the empty line begins there, and nothing came behind it.
        # (A parser that took single line feeds for line ends might have seen the head's end before.)
        whole = not cycle.more_body and len(cycle.body) == len(body) and head.count(b"\n") == head.count(b"\r\n")
        if not (whole and cycle.keep_alive and _may_come_again(headers)):
            return
        if len(self._known) >= _MOST:
            self._known.clear()
        self._known[head] = Head({name: scope[name] for name in _IN_THE_HEAD}, headers, len(body))


def _may_come_again(headers: tuple[tuple[bytes, bytes], ...]) -> bool:
    names = {name for name, value in headers if (name, value.lower()) != (b"connection", PERSISTENT)}
    return FRAMING.isdisjoint(names) and NEVER_THE_SAME.isdisjoint(names)
