"""From a graph in a verified bundle to a runtime that has proven itself: loaded, checked, made invariant, warmed."""

import dataclasses
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from bundle.errors import DamagedBundleError
from bundle.golden import GoldenCase, check_golden
from bundle.manifest import GraphName, GraphSpec
from bundle.store import Bundle
from service.engine.admission import Limits
from service.engine.backends import Backend
from service.engine.cost import CostModel
from service.engine.invariance import NO_PADDING, NotInvariantError, find_padding
from service.engine.plan import at_once_s, largest_batch
from service.engine.runtimes.base import Arrays, Runtime
from service.settings import Settings

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedGraph:
    """A graph that can serve.

    Attributes:
        runtime: Runs it.
        limits: How it is batched.
        cost: What a run takes, as far as it was measured beforehand.
        reopen: Opens and checks another runtime of the same graph, for when this one hangs.
    """

    runtime: Runtime
    limits: Limits
    cost: CostModel
    reopen: Callable[[], Runtime]


def prepare(
    bundle: Bundle, graph: GraphName, golden: GoldenCase, backend: Backend, settings: Settings
) -> PreparedGraph:
    """Load a graph, compare it with its golden outputs on the device that will serve, and warm it.

    Raises:
        RuntimeLoadError: If it cannot be loaded.
        DamagedBundleError: If it cannot run its golden inputs, or gives other outputs than the golden ones.
    """
    spec = bundle.manifest.graphs[graph]
    batch = largest_batch(settings, bundle.manifest.name, backend.device, spec.latency, spec.file.bytes)

    def reopen() -> Runtime:
        return _open(bundle, graph, golden, backend, batch)

    runtime = reopen()
    try:
        limits = _limits(bundle, graph, spec, runtime, golden.inputs, settings, batch)
        limits = dataclasses.replace(limits, at_once_s=at_once_s(settings, backend.device))
        cost = CostModel(_measure(runtime, spec, golden.inputs, limits))
    except BaseException:
        runtime.close()
        raise
    return PreparedGraph(runtime, limits, cost, reopen)


def _open(bundle: Bundle, graph: GraphName, golden: GoldenCase, backend: Backend, batch: int) -> Runtime:
    runtime = backend.load(bundle, graph, batch)
    try:
        _check_golden(bundle, graph, bundle.manifest.graphs[graph], runtime, golden)
    except BaseException:
        runtime.close()
        raise
    return runtime


def _check_golden(bundle: Bundle, graph: str, spec: GraphSpec, runtime: Runtime, golden: GoldenCase) -> None:
    golden_file = bundle.path / bundle.manifest.golden.path
    wanted = {tensor.name for tensor in spec.inputs}, {tensor.name for tensor in spec.outputs}
    found = set(golden.inputs), set(golden.outputs)
    if found != wanted:
        raise DamagedBundleError(f"{golden_file} has inputs, outputs {found} of {graph!r}; the manifest has {wanted}")
    try:
        outputs = runtime.run(golden.inputs, list(golden.outputs))
    except Exception as error:  # runtimes have no common base of their errors
        raise DamagedBundleError(f"{golden_file}: {graph!r} cannot run its golden inputs: {error}") from error
    try:
        check_golden(graph, golden.outputs, outputs, spec.tolerance)
    except DamagedBundleError as error:
        raise DamagedBundleError(f"{golden_file}: {error}, on {runtime.provider}") from error


def _limits(
    bundle: Bundle, graph: str, spec: GraphSpec, runtime: Runtime, inputs: Arrays, settings: Settings, batch: int
) -> Limits:
    try:
        padding = find_padding(runtime, inputs, [tensor.name for tensor in spec.outputs], batch)
    except NotInvariantError as error:
        _log.warning("%s, graph %r: %s; it runs one image at a time", bundle.path, graph, error)
        padding, batch = NO_PADDING, 1
    largest = padding.rows(batch)
    return Limits(largest, settings.queue_images, settings.max_wait_ms / 1000, padding, settings.hang_s)


def _measure(runtime: Runtime, spec: GraphSpec, inputs: Arrays, limits: Limits) -> list[tuple[int, float]]:
    sizes = {limits.padding.rows(1), limits.max_batch_size}
    return [(rows, _warm(runtime, spec, inputs, rows)) for rows in sorted(sizes)]


def _warm(runtime: Runtime, spec: GraphSpec, inputs: Arrays, batch: int) -> float:
    which = np.arange(batch) % len(next(iter(inputs.values())))
    full = {name: np.ascontiguousarray(array[which]) for name, array in inputs.items()}
    outputs = [tensor.name for tensor in spec.outputs]
    runtime.run(full, outputs)
    start = time.perf_counter()
    runtime.run(full, outputs)
    return time.perf_counter() - start
