"""OpenTelemetry: a span for each request and one for each of its stages, made when it has been answered.

It needs the extra `otel`. Where spans go, how many are kept and what the service is called is set the way OpenTelemetry
has it everywhere, by variables `OTEL_*`; docs/observability.md lists those that count.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping

import structlog
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import Scope

from service.access import QUIET
from service.errors import StartupError
from service.metrics import METHODS
from service.trace import Trace

_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_PROTOCOL = "http/protobuf"
_PATIENCE_S = 5.0  # with a collector that does not answer, at the end
_W3C = TraceContextTextMapPropagator()

log = structlog.get_logger("service.tracing")


class Tracing:
    """Makes spans and sends them off, from a thread of its own.

    Args:
        digest_of: The digest of a model, by `name@version`; None if it is not loaded any more.

    Raises:
        StartupError: If variables `OTEL_*` ask for what there is not.
    """

    def __init__(self, digest_of: Callable[[str], str | None]) -> None:
        self._digest_of = digest_of
        self._provider = _open_provider()
        self._tracer = self._provider.get_tracer("genserve")

    def request_ended(self, trace: Trace, scope: Scope, method: str, status: int, seconds: float) -> None:
        """A request was answered just now, `seconds` after it came."""
        if trace.route in QUIET:
            return
        end = time.time_ns()
        known = method if method in METHODS else "HTTP"
        span = self._tracer.start_span(
            known if trace.route == "unmatched" else f"{known} {trace.route}",
            _parent(trace.headers),
            SpanKind.SERVER,
            self._attributes(trace, scope, method, status),
            start_time=end - round(1e9 * seconds),
        )
        if span.is_recording():
            if status >= 500:
                span.set_status(StatusCode.ERROR)
            self._add_stages(span, trace, end, seconds)
        span.end(end)

    def close(self) -> None:
        """Send what waits, and end; gives up after some seconds if nobody takes it."""
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)  # it may take 30 s
        closing.start()
        closing.join(_PATIENCE_S)
        if closing.is_alive():
            log.warning("spans are lost: nobody took them", patience_s=_PATIENCE_S)

    def _attributes(self, trace: Trace, scope: Scope, method: str, status: int) -> dict[str, str | int]:
        """The names are those of OpenTelemetry's conventions for HTTP servers, and `genserve.*` for the rest."""
        found: dict[str, str | int | None] = {
            "http.request.method": method if method in METHODS else "_OTHER",
            "http.request.method_original": None if method in METHODS else method,
            "http.route": None if trace.route == "unmatched" else trace.route,
            "http.response.status_code": status,
            "url.path": scope["path"],
            "url.scheme": scope["scheme"],
            "error.type": (trace.code or str(status)) if status >= 500 else None,
            "genserve.request_id": trace.request_id,
            "genserve.code": trace.code,
            "genserve.model": trace.model,
            "genserve.model.digest": self._digest_of(trace.model) if trace.model else None,
            "genserve.images": trace.images if trace.model else None,
        }
        return {name: value for name, value in found.items() if value is not None}

    def _add_stages(self, request: Span, trace: Trace, end: int, seconds: float) -> None:
        """One after the other, in their order; the last ends with the request, since sending is its end.

        Slices of a request that ran at once add up to more than it took: then all stages are shortened alike.
        """
        t = trace.timings
        stages = {
            "queue": t.queue_s,
            "batch": t.batch_s,
            "compute": t.compute_s,
            "encode": trace.encode_s,
            "send": trace.send_s,
        }
        total = sum(stages.values())
        scale = 1e9 * min(1.0, seconds / total) if total else 0.0
        begun = end - round(scale * total)
        context = set_span_in_context(request, Context())
        before = 0.0
        for stage, duration in stages.items():
            if duration:
                start, stop = (begun + round(scale * at) for at in (before, before + duration))
                attributes = {"genserve.stage.seconds": duration}
                self._tracer.start_span(stage, context, attributes=attributes, start_time=start).end(stop)
            before += duration


def _parent(headers: Mapping[bytes, bytes]) -> Context:
    carrier = {name: headers[name.encode()].decode("latin-1") for name in _W3C.fields if name.encode() in headers}
    return _W3C.extract(carrier, Context()) if carrier else Context()


def _open_provider() -> TracerProvider:
    for name in _PROTOCOLS:
        protocol = os.environ.get(name) or _PROTOCOL  # empty is not set, as OpenTelemetry has it
        if protocol != _PROTOCOL:
            raise StartupError(f"{name} is {protocol!r}; spans are only sent as {_PROTOCOL!r}")
    resource = Resource.create({SERVICE_NAME: "genserve", **OTELResourceDetector().detect().attributes})
    try:
        # The process's one provider stays untouched: what else is in the process does not send its spans here.
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    except ValueError as error:
        raise StartupError(f"tracing: a variable OTEL_* cannot be used: {error}") from error
    return provider
