"""Prometheus metrics: of requests, and of the engine, whose observer this is. One registry per application."""

from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.engine.observer import Ending, Source

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_GRAPH = ("model", "version", "graph")


class Metrics:
    """All metrics of one application; an `EngineObserver`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        self._requests = Counter("genserve_requests", "Requests answered", ("route", "method", "status"), registry=r)
        self._request_seconds = Histogram(
            "genserve_request_seconds", "Seconds to answer", ("route", "method"), buckets=_SECONDS, registry=r
        )
        self._in_flight = Gauge("genserve_requests_in_flight", "Requests being answered", registry=r)
        self._images = Counter("genserve_images", "Images answered", ("model", "version"), registry=r)
        self._queued = Gauge("genserve_queue_images", "Images waiting", _GRAPH, registry=r)
        self._batch = Histogram("genserve_batch_images", "Images per run", _GRAPH, buckets=_BATCHES, registry=r)
        self._padding = Counter("genserve_padding_rows", "Rows run that nobody asked for", _GRAPH, registry=r)
        self._run_seconds = Histogram("genserve_run_seconds", "Seconds per run", _GRAPH, buckets=_SECONDS, registry=r)
        self._queue_seconds = Histogram(
            "genserve_queue_seconds", "Seconds until a request's first run", _GRAPH, buckets=_SECONDS, registry=r
        )
        self._ended = Counter(
            "genserve_engine_requests", "Requests to a graph, by how they ended", (*_GRAPH, "ending"), registry=r
        )
        self._busy = Gauge("genserve_lanes_busy", "Lanes that run a batch", registry=r)
        self._lanes = Gauge("genserve_lanes", "Lanes", registry=r)
        # looking a child up by its labels takes longer than counting
        self._of_route = lru_cache(maxsize=512)(self._requests.labels)
        self._seconds_of_route = lru_cache(maxsize=512)(self._request_seconds.labels)

    def request_began(self) -> None:
        """A request came in."""
        self._in_flight.inc()

    def request_ended(self, route: str, method: str, status: int, seconds: float) -> None:
        """It was answered; `route` is a template, so that there are few."""
        self._in_flight.dec()
        known = method if method in _METHODS else "other"
        self._of_route(route, known, str(status)).inc()
        self._seconds_of_route(route, known).observe(seconds)

    def images(self, model: str, version: int, n: int) -> None:
        """`n` images of a model were answered."""
        self._images.labels(model, str(version)).inc(n)

    def render(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)

    def queued(self, source: Source, images: int) -> None:
        """See EngineObserver."""
        self._queued.labels(*source).set(images)

    def batch(self, source: Source, images: int, padding: int, run_s: float) -> None:
        """See EngineObserver."""
        self._batch.labels(*source).observe(images)
        self._run_seconds.labels(*source).observe(run_s)
        if padding:
            self._padding.labels(*source).inc(padding)

    def waited(self, source: Source, seconds: float) -> None:
        """See EngineObserver."""
        self._queue_seconds.labels(*source).observe(seconds)

    def ended(self, source: Source, ending: Ending) -> None:
        """See EngineObserver."""
        self._ended.labels(*source, ending).inc()

    def lanes_busy(self, busy: int, lanes: int) -> None:
        """See EngineObserver."""
        self._busy.set(busy)
        self._lanes.set(lanes)
