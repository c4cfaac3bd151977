"""Prometheus metrics: of requests, and of the engine, whose observer this is. One registry per application.

A request leaves one entry in a list; entries are counted by the thousand, at the latest when somebody looks. Several
workers count in files of their own (`PROMETHEUS_MULTIPROC_DIR`), every second, as others may be asked; whoever is asked
adds them up.
"""

import os
import time
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from service.engine.observer import Ending, Source
from service.histograms import BulkHistogram
from service.trace import Trace

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STAGES = ("queue", "batch", "compute", "encode", "send")

_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_GRAPH = ("model", "version", "graph")
_MOST_UNCOUNTED = 4096


# An answered request: route, method, status, seconds, problem's code; model, version, images, seconds in each stage.
# Numbers and text alone, so that thousands that wait cost the garbage collector nothing; no names, for which see
# docs/decisions/0004-what-the-engine-spends.md.
_Done = tuple[str, str, int, float, str | None, str | None, int | None, int, tuple[float, ...]]


# Seconds of those that were refused before they were parsed, by route, method, status and the problem's code.
_RefusalSeconds = defaultdict[tuple[str, str, int, str], list[float]]


class GraphState(NamedTuple):
    """A graph at this moment."""

    source: Source
    queued_images: int
    max_batch_size: int


class EngineState(NamedTuple):
    """The engine at this moment, for gauges.

    Attributes:
        at_once: Long batches that may run at once: of several workers, the share of this one.
        models: name, version, digest, runtime and provider of each that serves.
    """

    ready: bool
    lanes: int
    at_once: float
    busy: int
    graphs: list[GraphState]
    models: list[tuple[str, str, str, str, str]]


class Metrics:
    """All metrics of one application; an `EngineObserver`.

    Attributes:
        under_way: Requests that are being answered.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self._look: Callable[[], EngineState] | None = None
        self._shown: dict[Gauge, set[tuple[Any, ...]]] = {}
        self.under_way = 0
        self._loop_s = 0.0
        self._requests_done: list[_Done] = []
        self._refusals = _RefusalSeconds(list)
        self._batches: list[tuple[Source, int, int, float]] = []
        self._endings: list[tuple[Source, Ending]] = []
        self._make_request_metrics(self.registry)
        self._make_engine_metrics(self.registry)

    def watch(self, look: Callable[[], EngineState]) -> None:
        """Ask `look` for the state of the engine whenever somebody asks for metrics."""
        self._look = look

    def request_began(self) -> None:
        """A request came in."""
        self.under_way += 1

    def request_ended(self, trace: Trace, method: str, status: int, seconds: float) -> None:
        """It was answered."""
        self.under_way -= 1
        t = trace.timings
        stages = (t.queue_s, t.batch_s, t.compute_s, trace.encode_s, trace.send_s)
        self._note((trace.route, method, status, seconds, trace.code, trace.name, trace.version, trace.images, stages))

    def refused(self, route: str, method: str, status: int, code: str, seconds: float) -> None:
        """A request was refused before it was parsed."""
        found = self._refusals[route, method, status, code]
        found.append(seconds)
        if len(found) >= _MOST_UNCOUNTED:
            self.count()

    def held_back(self) -> None:
        """A refusal is held back for a while."""
        self._held_back.inc()

    def _note(self, done: _Done) -> None:
        self._requests_done.append(done)
        if len(self._requests_done) >= _MOST_UNCOUNTED or len(self._batches) >= _MOST_UNCOUNTED:
            self.count()

    def tick(self) -> None:
        """To be called on the event loop now and then: counts what it has worked since."""
        now = time.thread_time()
        self._loop.inc(now - self._loop_s)
        self._loop_s = now

    def batch(self, source: Source, images: int, padding: int, run_s: float) -> None:
        """See EngineObserver."""
        self._batches.append((source, images, padding, run_s))

    def ended(self, source: Source, ending: Ending) -> None:
        """See EngineObserver."""
        self._endings.append((source, ending))

    def rebuilt(self, source: Source, reason: str) -> None:
        """See EngineObserver."""
        self._rebuilds.labels(*source, reason).inc()

    def shrunk(self, source: Source, max_batch_size: int) -> None:  # noqa: ARG002 (a gauge shows it)
        """See EngineObserver."""
        self._shrinkings.labels(*source).inc()

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        self.count()
        if not self._shared:
            return generate_latest(self.registry)
        everybody = CollectorRegistry()
        MultiProcessCollector(everybody)  # type: ignore[no-untyped-call]
        return generate_latest(everybody)

    def count(self) -> None:
        """Count what was only noted so far."""
        done, self._requests_done = self._requests_done, []
        refusals, self._refusals = self._refusals, _RefusalSeconds(list)
        batches, self._batches = self._batches, []
        endings, self._endings = self._endings, []
        self._count_requests(done)
        self._count_refusals(refusals)
        self._count_stages(done)
        self._count_batches(batches)
        for (source, ending), times in Tally(endings).items():
            self._ended.labels(*source, ending).inc(times)
        self._in_flight.set(self.under_way)
        self._workers.set(1)
        if self._look is not None:
            self._show(self._look())

    def _count_requests(self, done: Iterable[_Done]) -> None:
        seconds = defaultdict(list)
        statuses: Tally[tuple[str, str, str]] = Tally()
        problems: Tally[tuple[str, str]] = Tally()
        images: Tally[tuple[str, str]] = Tally()
        for route, given, status, took, code, model, version, n, _ in done:
            method = given if given in METHODS else "other"
            statuses[route, method, str(status)] += 1
            seconds[route, method].append(took)
            if code is not None:
                problems[route, code] += 1
            if n and model is not None:
                images[model, str(version)] += n
        for labels, times in statuses.items():
            self._requests.labels(*labels).inc(times)
        for key, values in seconds.items():
            self._request_seconds.labels(*key).observe_many(values)
        for problem, times in problems.items():
            self._problems.labels(*problem).inc(times)
        for which, number in images.items():
            self._images.labels(*which).inc(number)

    def _count_refusals(self, refusals: _RefusalSeconds) -> None:
        for (route, method, status, code), seconds in refusals.items():
            self._requests.labels(route, method, str(status)).inc(len(seconds))
            self._request_seconds.labels(route, method).observe_many(seconds)
            self._problems.labels(route, code).inc(len(seconds))

    def _count_stages(self, done: Iterable[_Done]) -> None:
        found = defaultdict(list)
        for *_, model, _, n, stages in done:
            if n and model is not None:
                found[model].append(stages)
        for name, rows in found.items():
            for stage, values in zip(STAGES, zip(*rows, strict=True), strict=True):
                self._stages.labels(name, stage).observe_many(values)

    def _count_batches(self, batches: Iterable[tuple[Source, int, int, float]]) -> None:
        found = defaultdict(list)
        for source, *batch in batches:
            found[source].append(batch)
        for source, rows in found.items():
            images, padding, seconds = zip(*rows, strict=True)
            self._batch.labels(*source).observe_many(images)
            self._run_seconds.labels(*source).observe_many(seconds)
            self._padding.labels(*source).inc(sum(padding))

    def _show(self, state: EngineState) -> None:
        self._ready.set(state.ready)
        self._lanes.set(state.lanes)
        self._at_once.set(state.at_once)
        self._busy.set(state.busy)
        for graph in state.graphs:  # what never happened shows as 0
            self._shrinkings.labels(*graph.source)
            self._rebuilds.labels(*graph.source, "hung")
        self._set_all(self._queued, {graph.source: graph.queued_images for graph in state.graphs})
        self._set_all(self._max_batch, {graph.source: graph.max_batch_size for graph in state.graphs})
        self._set_all(self._model_info, dict.fromkeys(state.models, 1))

    def _set_all(self, gauge: Gauge, values: Mapping[tuple[Any, ...], float]) -> None:
        """What is not among the values any more goes away; in files that workers share it can only become 0."""
        before = self._shown.get(gauge, set())
        self._shown[gauge] = {*values}
        for labels in before - values.keys():
            if self._shared:
                gauge.labels(*labels).set(0)
            else:
                gauge.remove(*labels)
        for labels, value in values.items():
            gauge.labels(*labels).set(value)

    def _make_request_metrics(self, r: CollectorRegistry) -> None:
        self._requests = Counter("genserve_requests", "Requests answered", ("route", "method", "status"), registry=r)
        self._problems = Counter(
            "genserve_problems", "Requests answered with a problem document", ("route", "code"), registry=r
        )
        self._held_back = Counter(
            "genserve_refusals_held", "Refusals held back from clients that ask again at once", registry=r
        )
        self._request_seconds = BulkHistogram(
            "genserve_request_seconds", "Seconds to answer", ("route", "method"), buckets=_SECONDS, registry=r
        )
        self._in_flight = Gauge(
            "genserve_requests_in_flight", "Requests being answered", registry=r, multiprocess_mode="livesum"
        )
        self._workers = Gauge("genserve_workers", "Processes that serve", registry=r, multiprocess_mode="livesum")
        self._loop = Counter("genserve_event_loop_seconds", "CPU seconds of event loops", registry=r)
        self._images = Counter("genserve_images", "Images answered", ("model", "version"), registry=r)
        self._stages = BulkHistogram(
            "genserve_stage_seconds",
            "Seconds that answered requests spent in each stage",
            ("model", "stage"),
            buckets=_SECONDS,
            registry=r,
        )

    def _make_engine_metrics(self, r: CollectorRegistry) -> None:
        self._batch = BulkHistogram("genserve_batch_images", "Images per run", _GRAPH, buckets=_BATCHES, registry=r)
        self._padding = Counter("genserve_padding_rows", "Rows run that nobody asked for", _GRAPH, registry=r)
        self._run_seconds = BulkHistogram(
            "genserve_run_seconds", "Seconds per run", _GRAPH, buckets=_SECONDS, registry=r
        )
        self._ended = Counter(
            "genserve_engine_requests", "Requests to a graph, by how they ended", (*_GRAPH, "ending"), registry=r
        )
        self._rebuilds = Counter(
            "genserve_runtime_rebuilds", "Runtimes that were opened anew", (*_GRAPH, "reason"), registry=r
        )
        self._shrinkings = Counter(
            "genserve_batch_halvings", "Times that memory ran out and the largest batch was halved", _GRAPH, registry=r
        )
        self._queued = Gauge("genserve_queue_images", "Images waiting", _GRAPH, registry=r, multiprocess_mode="livesum")
        self._max_batch = Gauge(
            "genserve_max_batch_images", "Largest batch", _GRAPH, registry=r, multiprocess_mode="livemin"
        )
        self._busy = Gauge("genserve_lanes_busy", "Lanes that run a batch", registry=r, multiprocess_mode="livesum")
        self._lanes = Gauge("genserve_lanes", "Lanes", registry=r, multiprocess_mode="livesum")
        self._at_once = Gauge(
            "genserve_lanes_at_once", "Long batches that may run at once", registry=r, multiprocess_mode="livesum"
        )
        self._ready = Gauge("genserve_ready", "1 if ready, in all workers", registry=r, multiprocess_mode="livemin")
        self._model_info = Gauge(
            "genserve_model_info",
            "Models that serve",
            ("model", "version", "digest", "runtime", "provider"),
            registry=r,
            multiprocess_mode="livemax",
        )
