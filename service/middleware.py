"""Around every request: its id, its access line, its metrics, and an answer where nothing else made one.

Endpoints without parameters in their path are called at once: the framework, which knows them too and documents them,
would take three times as long to find them as they take to answer.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

import structlog
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access import AccessLog
from service.errors import InternalError, OverloadedError, ServiceError
from service.metrics import Metrics
from service.pacing import Pace
from service.problems import problem
from service.replies import WITHOUT_BODY, Answer
from service.trace import Trace, begin_trace
from service.transport import Cycle, cycle_of
from service.wakefulness import Wakefulness

if TYPE_CHECKING:  # it needs the extra `otel`
    from service.tracing import Tracing

Endpoint = Callable[[Request], Awaitable[Response]]

_CLIENT_LEFT = 499  # as nginx counts it: nobody is there to read a status

log = structlog.get_logger("service.requests")


class RequestMiddleware:
    """Pure ASGI.

    Args:
        app: What endpoints find as the request's application.
        rest: Answers whatever has no endpoint here.
        endpoints: By method and path.
        pace: Of refusals because of others.
        overloaded: Called whenever there is one.
    """

    def __init__(
        self,
        app: Starlette,
        rest: ASGIApp,
        endpoints: Mapping[tuple[str, str], Endpoint],
        metrics: Metrics,
        access: AccessLog,
        wakefulness: Wakefulness,
        pace: Pace,
        tracing: "Tracing | None" = None,
        overloaded: Callable[[], None] | None = None,
    ) -> None:
        self._app = app
        self._rest = rest
        self._endpoints = endpoints
        self._metrics = metrics
        self._access = access
        self._wakefulness = wakefulness
        self._tracing = tracing
        self._overloaded = overloaded
        self._pace = pace
        self._last_client: tuple[str, int] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the module."""
        scope["app"] = self._app
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":  # what GET answers, without its body (RFC 9110, section 9.3.2)
            scope = {**scope, "method": "GET", WITHOUT_BODY: True}
        cycle = cycle_of(scope)
        trace = begin_trace(scope) if cycle is None else begin_trace(scope, cycle.waited_s, cycle.place)
        answer = _Send(send, trace, method == "HEAD")
        self._metrics.request_began()
        client = scope.get("client")
        trace.alone = client is not None and client == self._last_client
        self._last_client = client
        self._wakefulness.asked()
        try:
            await self._respond(scope, receive, answer)
        except ClientDisconnect:
            answer.status = answer.status or _CLIENT_LEFT
        except Exception:
            log.exception("unforeseen", path=scope["path"])
            if answer.status:
                raise  # half an answer is out: only closing the connection can tell
            error = InternalError("something went wrong inside the service; its log has this request_id")
            await problem(error, trace)(scope, receive, answer)
        finally:
            seconds = time.perf_counter() - trace.started
            self._metrics.request_ended(trace, method, answer.status or 500, seconds)
            self._access.add(trace, method, answer.status or 500, seconds)
            if self._tracing is not None:
                self._tracing.request_ended(trace, scope, method, answer.status or 500, seconds)
            self._wakefulness.answered(trace.alone and not self._metrics.under_way)

    async def _respond(self, scope: Scope, receive: Receive, send: "_Send") -> None:
        trace = send.trace
        endpoint = self._endpoints.get((scope["method"], scope["path"]))
        if endpoint is None:
            try:
                await self._rest(scope, receive, send)
            finally:
                trace.route = getattr(scope.get("route"), "path", trace.route)
            return
        trace.route = scope["path"]
        cycle, refused = cycle_of(scope), False
        try:
            response = await endpoint(Request(scope, receive))
        except ServiceError as error:
            response = problem(error, trace)
            if trace.place is not None:
                trace.place.give_up()  # a refusal may have to wait, and nobody is to wait for that
            refused = isinstance(error, OverloadedError)
        if refused:
            await self._refused(cycle)
        elif trace.images and trace.code is None:
            self._pace.served()
        if cycle is not None and type(response) is Answer and send.may_be_whole(cycle):
            await send.whole(response, cycle)
        else:
            await response(scope, receive, send)

    async def _refused(self, cycle: Cycle | None) -> None:
        if self._overloaded is not None:
            self._overloaded()
        if cycle is not None:
            await cycle.turn_to_refuse()


class _Send:
    """`send`, with the request's own headers added, its status noted and its time taken."""

    __slots__ = ("_send", "_without_body", "status", "trace")

    def __init__(self, send: Send, trace: Trace, without_body: bool) -> None:
        self.trace = trace
        self.status = 0
        self._send = send
        self._without_body = without_body

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            own = (
                (b"x-request-id", self.trace.request_id.encode("ascii")),
                (b"server-timing", self.trace.server_timing()),
            )
            message["headers"] = [*message["headers"], *own]
        elif self._without_body:
            message["body"] = b""
        begun = time.perf_counter()
        await self._send(message)
        self.trace.send_s += time.perf_counter() - begun

    def may_be_whole(self, cycle: Cycle) -> bool:
        """Whether nobody in between wants to see the parts of an answer."""
        return self._send == cycle.send and not self._without_body

    async def whole(self, answer: Answer, cycle: Cycle) -> None:
        """An answer by the short way of `service.transport`."""
        trace = self.trace
        self.status = answer.status_code
        begun = time.perf_counter()
        await cycle.answer(answer.status_code, answer.head + trace.lines(), answer.body)
        trace.send_s += time.perf_counter() - begun
