"""Each request leaves one span with its stages below it, and all of them arrive where OTEL_* says."""

import gzip
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
import structlog
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from service import tracing
from service.app import create_app
from service.errors import StartupError
from service.settings import Settings
from service.trace import Trace
from service.tracing import Tracing
from tests.service.support import process, serving, until

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"
STAGES = ["queue", "batch", "compute", "encode", "send"]
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = (f"00-{TRACE_ID}-{SPAN_ID}-{flags}" for flags in ("01", "00"))
SCOPE = {"type": "http", "path": "/sample", "scheme": "http"}


@pytest.fixture(autouse=True)
def _no_settings_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> InMemorySpanExporter:
    """Takes the spans instead of a collector."""
    memory = InMemorySpanExporter()
    monkeypatch.setattr(tracing, "OTLPSpanExporter", lambda: memory)
    return memory


def spans_of(exporter: InMemorySpanExporter, trace: Trace, status: int = 200, seconds: float = 1.0) -> list[Any]:
    """The spans of a request: its own, and those below it in order of their begin."""
    running = Tracing(lambda _: "abc")
    running.request_ended(trace, SCOPE, "POST", status, seconds)
    running.close()
    spans = sorted(exporter.get_finished_spans(), key=lambda span: (span.parent is not None, span.start_time))
    return [*spans]


def finished(route: str = "/sample", headers: dict[bytes, bytes] | None = None) -> Trace:
    """The trace of a request for two images."""
    trace = Trace("id-1", headers or {})
    trace.route = route
    trace.about("fashion-vae", 3, 2)
    trace.images = 2
    trace.timings.queue_s, trace.timings.batch_s, trace.timings.compute_s = 0.1, 0.02, 0.3
    trace.encode_s, trace.send_s = 0.05, 0.01
    return trace


def test_served_requests_leave_one_span_each_with_their_stages(store: Path, exporter: InMemorySpanExporter) -> None:
    with serving(store, lanes=1, tracing=True) as client:
        digest = client.get("/models/fashion-vae@2").json()["digest"]
        answer = client.post("/sample", {"model": "fashion-vae", "n": 3}, headers={"x-request-id": "mine"})
        assert answer.status_code == 200
        assert client.post("/sample", {"model": "nobody"}).status_code == 404
        for quiet in ("/health/live", "/health/ready", "/metrics"):
            client.get(quiet)
    spans: list[Any] = [*exporter.get_finished_spans()]
    requests = [span for span in spans if span.kind is SpanKind.SERVER]
    assert [span.name for span in requests] == ["GET /models/{ref}", "POST /sample", "POST /sample"]
    one, sampled, unknown = requests
    assert one.attributes["url.path"] == "/models/fashion-vae@2"
    assert sampled.attributes == {
        "http.request.method": "POST",
        "http.route": "/sample",
        "http.response.status_code": 200,
        "url.path": "/sample",
        "url.scheme": "http",
        "genserve.request_id": "mine",
        "genserve.model": "fashion-vae@2",
        "genserve.model.digest": digest,
        "genserve.images": 3,
    }
    assert unknown.attributes["genserve.code"] == "unknown_model"
    assert unknown.status.status_code is StatusCode.UNSET
    stages = [span for span in spans if span.parent and span.parent.span_id == sampled.context.span_id]
    assert {"queue", "compute", "encode"} <= {span.name for span in stages}
    assert all(sampled.start_time <= span.start_time <= span.end_time <= sampled.end_time for span in stages)
    assert {span.resource.attributes["service.name"] for span in spans} == {"genserve"}


def test_stages_lie_one_after_the_other_up_to_the_end_of_the_request(exporter: InMemorySpanExporter) -> None:
    request, *stages = spans_of(exporter, finished(), seconds=2.0)
    assert [span.name for span in stages] == STAGES
    assert request.end_time - request.start_time == 2_000_000_000
    lengths = [(span.end_time - span.start_time) / 1e9 for span in stages]
    assert lengths == pytest.approx([0.1, 0.02, 0.3, 0.05, 0.01], abs=1e-8)
    assert all(before.end_time == after.start_time for before, after in pairwise(stages))
    assert stages[-1].end_time == request.end_time
    assert all(span.parent == request.context for span in stages)


def test_slices_that_ran_at_once_are_shortened_to_fit_into_the_request(exporter: InMemorySpanExporter) -> None:
    trace = finished()
    trace.timings.compute_s = 3.0
    request, *stages = spans_of(exporter, trace, seconds=1.0)
    assert stages[0].start_time == request.start_time
    assert stages[-1].end_time == request.end_time
    assert stages[2].attributes["genserve.stage.seconds"] == 3.0
    assert (stages[2].end_time - stages[2].start_time) / 1e9 == pytest.approx(3.0 / 3.18)


def test_stages_that_a_request_did_not_reach_leave_no_span(exporter: InMemorySpanExporter) -> None:
    trace = Trace("id-1")
    trace.send_s = 0.01
    request, *stages = spans_of(exporter, trace, status=404)
    assert request.name == "POST"  # no route: paths that anybody can make up would be names without end
    assert "http.route" not in request.attributes
    assert [span.name for span in stages] == ["send"]


def test_the_callers_traceparent_is_the_parent(exporter: InMemorySpanExporter) -> None:
    headers = {b"traceparent": SAMPLED.encode(), b"tracestate": b"vendor=7"}
    request, *_ = spans_of(exporter, finished(headers=headers))
    assert f"{request.context.trace_id:032x}" == TRACE_ID
    assert f"{request.parent.span_id:016x}" == SPAN_ID
    assert request.context.trace_state["vendor"] == "7"


def test_what_the_caller_does_not_sample_is_not_sampled_here(exporter: InMemorySpanExporter) -> None:
    assert spans_of(exporter, finished(headers={b"traceparent": UNSAMPLED.encode()})) == []


@pytest.mark.parametrize("sent", [b"", b"00-xyz", b"\xff" * 55, f"00-{'0' * 32}-{SPAN_ID}-01".encode()])
def test_a_traceparent_that_is_none_starts_a_trace_of_its_own(exporter: InMemorySpanExporter, sent: bytes) -> None:
    request, *_ = spans_of(exporter, finished(headers={b"traceparent": sent}))
    assert request.parent is None


@pytest.mark.parametrize(
    ("code", "status", "kind"), [("runtime_failed", 500, StatusCode.ERROR), ("invalid_image", 422, StatusCode.UNSET)]
)
def test_faults_of_the_service_are_errors_and_those_of_the_caller_are_not(
    exporter: InMemorySpanExporter, code: str, status: int, kind: StatusCode
) -> None:
    trace = finished()
    trace.code = code
    request, *_ = spans_of(exporter, trace, status=status)
    assert request.status.status_code is kind
    assert request.attributes["genserve.code"] == code
    assert request.attributes.get("error.type") == (code if kind is StatusCode.ERROR else None)


def test_methods_that_nobody_knows_make_no_names_of_their_own(exporter: InMemorySpanExporter) -> None:
    running = Tracing(lambda _: None)
    running.request_ended(Trace("id"), SCOPE, "BREW", 405, 0.1)
    running.close()
    (span,) = exporter.get_finished_spans()
    assert span.name == "HTTP"
    assert span.attributes is not None
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "BREW"


@pytest.mark.parametrize(
    ("variable", "value", "service"),
    [
        ("OTEL_SERVICE_NAME", "pictures", "pictures"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=drawings,team=a", "drawings"),
    ],
)
def test_the_environment_names_the_service(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, service: str
) -> None:
    monkeypatch.setenv(variable, value)
    span: ReadableSpan = spans_of(exporter, finished())[0]
    assert span.resource.attributes["service.name"] == service


def test_a_sampler_of_the_environment_is_obeyed(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    assert spans_of(exporter, finished()) == []


def test_the_page_names_every_attribute_and_no_other(exporter: InMemorySpanExporter) -> None:
    trace = finished()
    trace.code = "runtime_failed"
    running = Tracing(lambda _: "abc")
    running.request_ended(trace, SCOPE, "POST", 500, 1.0)
    running.request_ended(Trace("id"), SCOPE, "BREW", 405, 1.0)
    running.close()
    found = {name for span in exporter.get_finished_spans() for name in span.attributes or {}}
    named = set(re.findall(r"`((?:http|url|error|genserve)\.[a-z_.]+)`", PAGE.read_text()))
    assert named == found


class _Collector(BaseHTTPRequestHandler):
    """As much of OTLP over HTTP as a client needs."""

    found: ClassVar[list[tuple[str, ExportTraceServiceRequest]]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.found.append((self.path, ExportTraceServiceRequest.FromString(body)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Not on the tests' stderr."""


@contextmanager
def collecting() -> Iterator[tuple[str, list[tuple[str, ExportTraceServiceRequest]]]]:
    """A collector's address, and what it was sent."""

    class Handler(_Collector):
        found: ClassVar[list[tuple[str, ExportTraceServiceRequest]]] = []

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", Handler.found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def sent_spans(found: list[tuple[str, ExportTraceServiceRequest]]) -> list[Any]:
    """All spans that a collector was sent."""
    return [span for _, post in found for r in post.resource_spans for s in r.scope_spans for span in s.spans]


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_collector_is_sent_every_span_before_the_service_ends(
    store: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    with collecting() as (address, found):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "600000")  # only the end of the service sends them
        with serving(store, lanes=1, tracing=True) as client:
            for _ in range(5):
                client.post("/sample", {"model": "fashion-vae"}, headers={"traceparent": SAMPLED})
        assert {path for path, _ in found} == {"/v1/traces"}
        spans = sent_spans(found)
    assert [span.name for span in spans].count("POST /sample") == 5
    assert [span.name for span in spans].count("compute") == 5
    assert {span.trace_id.hex() for span in spans} == {TRACE_ID}


def test_a_process_that_is_told_to_end_sends_what_it_has(store: Path) -> None:
    with collecting() as (address, found):
        environment = {
            "GENSERVE_TRACING": "true",
            "OTEL_EXPORTER_OTLP_ENDPOINT": address,
            "OTEL_BSP_SCHEDULE_DELAY": "600000",
        }
        with process(store, **environment) as (running, service):
            answer = httpx.post(f"{service}/sample", json={"n": 2}, headers={"traceparent": SAMPLED})
            assert answer.status_code == 200
        assert running.returncode == 0
    spans = {span.name: span for span in sent_spans(found)}
    assert {"POST /sample", "queue", "compute", "encode", "send"} <= spans.keys()
    assert spans["POST /sample"].parent_span_id.hex() == SPAN_ID
    assert {span.parent_span_id for name, span in spans.items() if name in STAGES} == {spans["POST /sample"].span_id}


def test_spans_are_sent_while_the_service_runs(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with collecting() as (address, found):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{address}/elsewhere")
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        with serving(store, lanes=1, tracing=True) as client:
            client.get("/models")
            until(lambda: sent_spans(found))
        assert {path for path, _ in found} == {"/elsewhere"}


def test_a_collector_that_is_not_there_changes_no_answer_and_does_not_hold_up_the_end(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with collecting() as (address, _):
        pass  # it has gone, and nobody else listens there
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", address)
    monkeypatch.setattr(tracing, "_PATIENCE_S", 0.1)
    with structlog.testing.capture_logs() as lines, serving(store, lanes=1, tracing=True) as client:
        assert client.post("/sample", {"model": "fashion-vae"}).status_code == 200
    assert "spans are lost: nobody took them" in [line["event"] for line in lines]


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", r"OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'.*http/protobuf"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "0", "OTEL_"),
    ],
)
def test_variables_that_cannot_be_end_the_start(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(StartupError, match=reason):
        Tracing(lambda _: None)


def test_tracing_without_its_extra_ends_the_start(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "service.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    with pytest.raises(StartupError, match=r"genserve\[otel\]"):
        create_app(Settings(store=store, tracing=True))


def test_without_tracing_nothing_of_it_is_there(store: Path) -> None:
    assert create_app(Settings(store=store)).state.tracing is None
