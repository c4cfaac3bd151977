"""Load shedding: under overload, whoever would be refused is told so before the request is understood.

On the usual way a refusal costs the event loop as much as an answer, and at three times its capacity a service refuses
two of three: that is time which the model does not get (docs/decisions/0011-refusing-at-the-door.md). So here a request
is looked at just closely enough to know that it is a whole one, for how many images of which model, and until when. The
engine judges it as ever, or has just judged one that asked for the same (`service.standing`). Whatever is unusual, and
whoever is let in, goes the usual way from the start; so a request that has something wrong with it beside may hear 503
first.

Whoever is let in may begin a little later, together with others (`service.bursts`), as long as the lanes have enough to
do with those who came before. And between two refusals the event loop may rest (`service.rests`).
"""

import contextlib
import functools
import re
import time
from typing import NamedTuple

import orjson
import structlog

from service.bursts import Burst, LetIn
from service.catalog import Catalog
from service.context import Context
from service.endpoint import timeout_s
from service.engine.places import Place
from service.errors import ServiceError
from service.heads import FRAMING, NEVER_THE_SAME, PERSISTENT
from service.model import Model
from service.problems import closed
from service.rests import Rests
from service.standing import Standing, StandingRefusals
from service.trace import request_id_for
from service.transport import Verdict
from service.workers import SMALL

_LET_IN = 64  # so many in a row, and the overload is over
_MOST_HEADS = 256
_PUT_OFF_S = 0.03  # who is let in, at most
_OF_THE_BACKLOG = 0.25  # and no more of what the lanes have to do before
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")  # no parser takes it in a head, and some proxies see a line's end
_NEVER_THE_SAME = re.compile(rb"\r\n(?:%b)[ \t]*:" % b"|".join(sorted(NEVER_THE_SAME)), re.IGNORECASE)
_ROUTE = "/sample"
_REQUEST_LINE = b"POST /sample HTTP/1.1"
_JSON = b"application/json"
_LINES = (
    b"content-type: application/problem+json\r\ncontent-length: %d\r\n%bx-request-id: %b\r\n"
    b"server-timing: queue;dur=0.000, batch;dur=0.000, compute;dur=0.000, encode;dur=0.000, total;dur=%.3f\r\n"
)

log = structlog.get_logger("service.requests")


class _Head(NamedTuple):
    """What matters of a request's head.

    Attributes:
        length: Of the body.
        seconds: In which the request must be answered; None if nobody minds.
        request_id: The client's, if it sent one.
    """

    length: int
    seconds: float | None
    request_id: bytes | None


class Shedder:
    """Refuses requests for the application that it belongs to.

    Args:
        context: Of the application.

    Attributes:
        burst: In which those begin that were let in.
        rests: Of the event loop.
    """

    def __init__(self, context: Context) -> None:
        self._refusals = StandingRefusals()
        self.burst = Burst()
        self.rests = Rests(self._refusals.forget)
        self._context = context
        self._catalog: Catalog | None = None
        self._watchful = 0  # requests to be let in until nobody is looked at here any more
        self._refused = False  # somebody was, since the last tick
        self._heads: dict[bytes, _Head | None] = {}  # clients send the same head again and again

    def overloaded(self) -> None:
        """A request was refused on the usual way, which has found the models open."""
        self._watchful, self._refused = _LET_IN, True
        with contextlib.suppress(ServiceError):
            self._catalog = self._context.catalog()

    def judge(self, head: bytes, body: bytes) -> Verdict:
        """What is to become of what came where a request may begin.

        Args:
            head: With its empty line.
            body: All that came behind it.

        Returns:
            For a refusal, what is to be called once, when the answer goes out: it gives status, head lines with their
            line ends, and body. For who is let in, a place. None for whatever is not judged here.
        """
        if not self._watchful:
            return None
        verdict = self._judge(head, body)
        if verdict is None or isinstance(verdict, LetIn):
            self._watchful -= 1
        else:
            self._watchful, self._refused = _LET_IN, True
        return verdict

    def tick(self) -> None:
        """To be called on the event loop every second or so: if nobody was refused since, the overload is over."""
        self._refusals.forget()
        if not self._refused:
            self._watchful = 0
        self._refused = False

    def end(self) -> None:
        """Have nothing wait any more: the service is about to end."""
        self.burst.end()
        self.rests.end()

    def _judge(self, given: bytes, body: bytes) -> Verdict:
        started = time.perf_counter()
        head = self._head(given)
        if head is None or len(body) != head.length:
            return None
        asked = _asked(body)
        if asked is None:
            return None
        ref, n = asked
        model = self._model(ref, n)
        if model is None:
            return None
        standing = self._refusals.find(model, n, head.seconds, started)
        if standing is not None:
            model.refused("decode", standing.error)
        else:
            found = model.promise("decode", n, head.seconds)
            if isinstance(found, Place):
                return LetIn(found, self._may_wait_s(model, n))
            if found is None:
                return None
            backlog_s = model.backlog_s("decode")
            standing = self._refusals.add((model, n, head.seconds), found, started, backlog_s)
            self.rests.want(backlog_s)
        return functools.partial(self._answer, standing, n, head.request_id, started)

    def _may_wait_s(self, model: Model, n: int) -> float:
        if n * model.values > SMALL and self._context.workers.wait_s:
            return 0.0  # it might be refused yet, because of others' images
        return min(_PUT_OFF_S, _OF_THE_BACKLOG * model.backlog_s("decode"))

    def _head(self, head: bytes) -> _Head | None:
        if head in self._heads:
            return self._heads[head]
        found = _read_head(head, self._context.settings.default_timeout_ms)
        if _NEVER_THE_SAME.search(head) is None:
            if len(self._heads) >= _MOST_HEADS:
                self._heads.clear()
            self._heads[head] = found
        return found

    def _model(self, ref: str | None, n: int) -> Model | None:
        context, catalog = self._context, self._catalog
        ref = context.settings.default_model if ref is None else ref
        if ref is None or catalog is None or n > context.settings.max_images or context.leaving or context.draining:
            return None
        return catalog.find(ref)

    def _answer(self, standing: Standing, n: int, given: bytes | None, started: float) -> tuple[int, bytes, bytes]:
        """As the middleware would, but without what a request on its way needs."""
        error, request_id = standing.error, request_id_for(given)
        status, encoded = error.status, request_id.encode()
        body = closed(standing.opening, encoded)
        seconds = time.perf_counter() - started
        try:
            self._context.metrics.refused(_ROUTE, "POST", status, error.code, seconds)
            self._context.access.note(request_id, _ROUTE, standing.model.ref, n, error.code, "POST", status, seconds)
        except Exception:  # the client is to have its answer whatever becomes of the notes
            log.exception("unforeseen", path=_ROUTE)
        return status, _LINES % (len(body), standing.lines, encoded, 1e3 * seconds), body


def _read_head(head: bytes, default_ms: float) -> _Head | None:
    """A whole head with its empty line; None for whatever is unusual."""
    line, *lines = head[:-4].split(b"\r\n")
    if line != _REQUEST_LINE:
        return None
    fields: dict[bytes, bytes] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or not name.replace(b"-", b"").isalnum() or name in fields or _CONTROL.search(value):
            return None
        fields[name] = value.lstrip(b" \t")
    if fields.get(b"connection", b"").lower() == PERSISTENT:
        del fields[b"connection"]
    length = fields.get(b"content-length", b"")
    if not length.isdigit() or fields.get(b"content-type", _JSON) != _JSON or not FRAMING.isdisjoint(fields):
        return None
    try:
        seconds = timeout_s(fields.get(b"x-timeout-ms"), default_ms)
    except ServiceError:
        return None
    return _Head(int(length), seconds, fields.get(b"x-request-id"))


def _asked(body: bytes) -> tuple[str | None, int] | None:
    """Which model, and how many images of it; None if that cannot be said at once."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if type(fields) is not dict or "latents" in fields:
        return None
    ref, n = fields.get("model"), fields.get("n")
    n = 1 if n is None else n
    if type(n) is not int or n < 1 or not (ref is None or type(ref) is str):
        return None
    return ref, n
