"""Around every request: its id, its access line, its metrics, and an answer where nothing else made one."""

import time

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import InternalError
from service.metrics import Metrics
from service.problems import problem
from service.trace import Trace, begin_trace

_CLIENT_LEFT = 499  # as nginx counts it: nobody is there to read a status

log = structlog.get_logger("service.access")


class RequestMiddleware:
    """Pure ASGI."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the module."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":  # what GET answers, without its body (RFC 9110, section 9.3.2)
            scope = {**scope, "method": "GET"}
        trace = begin_trace(scope)
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", trace.request_id.encode("ascii"))]
            elif method == "HEAD":
                message["body"] = b""
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=trace.request_id):
            self._metrics.request_began()
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:
                status = status or _CLIENT_LEFT
            except Exception:
                log.exception("unforeseen", path=scope["path"])
                if status:
                    raise  # half an answer is out: only closing the connection can tell
                error = InternalError("something went wrong inside the service; its log has this request_id")
                await problem(error, trace)(scope, receive, send_with_id)
            finally:
                self._close(scope, method, trace, status or 500)

    def _close(self, scope: Scope, method: str, trace: Trace, status: int) -> None:
        seconds = time.perf_counter() - trace.started
        route = getattr(scope.get("route"), "path", "unmatched")
        self._metrics.request_ended(route, method, status, seconds)
        quiet = route.startswith("/health") or route == "/metrics"
        (log.debug if quiet else log.info)(
            "request",
            route=route,
            method=method,
            status=status,
            ms=round(seconds * 1000, 3),
            model=trace.model,
            n=trace.n,
            code=trace.code,
        )
