"""The graph as the service would open it, once for each number of threads that is to be tried."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from bundle.errors import DamagedBundleError
from bundle.golden import load_golden
from bundle.manifest import GraphName
from bundle.store import Bundle
from service.engine.admission import Limits
from service.engine.backends import open_backend
from service.engine.prepare import PreparedGraph, prepare
from service.engine.runtimes.base import Arrays, Runtime
from service.settings import Settings
from service.tuning.shapes import Setup, Shape


class MeasurementError(Exception):
    """A batch cannot be run; the message says which, why, and what to try."""


@dataclass(frozen=True)
class Contender:
    """One shape, ready to be measured.

    Attributes:
        shape: Lanes and threads.
        runtime: Opened, checked and warmed with that many threads; as in the service, all lanes share it.
        limits: What the service knows of the graph, such as its padding.
        inputs: Of full batches, by batch size.
        outputs: What the service asks the graph for.
    """

    shape: Shape
    runtime: Runtime
    limits: Limits
    inputs: Mapping[int, Arrays]
    outputs: Sequence[str]

    @property
    def setups(self) -> list[Setup]:
        """Its batch sizes, ascending."""
        return [Setup(self.shape, batch) for batch in self.inputs]

    def rows(self, batch: int) -> int:
        """Rows that a batch really has: padded, or one by one if no padding makes rows independent of their batch."""
        return min(self.limits.padding.rows(batch), self.limits.max_batch_size)

    def run(self, batch: int) -> None:
        """Run one full batch.

        Raises:
            MeasurementError: If it cannot be run.
        """
        try:
            self.runtime.run(self.inputs[batch], self.outputs)
        except Exception as error:  # runtimes have no common base of their errors
            out = self.runtime.out_of_memory(error)
            why = "ran out of memory" if out else f"failed: {error}"
            raise MeasurementError(
                f"a batch of {batch} with lanes = {self.shape.lanes}, threads = {self.shape.threads} {why}; "
                "--largest N measures smaller ones only"
            ) from error


@contextlib.contextmanager
def open_contenders(
    bundle: Bundle, graph: GraphName, settings: Settings, shapes: Sequence[Shape], batches: Sequence[int]
) -> Iterator[list[Contender]]:
    """The graph of a verified bundle, opened by the very code that the service opens it with; closed after the block.

    Args:
        bundle, graph: Which graph.
        settings: Of the service; `lanes`, `threads` and `max_batch_size` are those of each shape instead.
        shapes: How runs share the device.
        batches: Images per run, ascending; those that padding makes alike count once.

    Raises:
        StartupError: If the device or the runtime cannot be used.
        BundleError, RuntimeLoadError: If the graph cannot serve.
        MeasurementError: If a batch cannot be run.
    """
    golden_file = bundle.path / bundle.manifest.golden.path
    golden = load_golden(golden_file)
    if graph not in golden:
        raise DamagedBundleError(f"{golden_file} has nothing for graph {graph!r}; it has: {', '.join(golden)}")
    runtimes: dict[int, PreparedGraph] = {}
    with contextlib.ExitStack() as stack:
        for threads in sorted({shape.threads for shape in shapes}):
            update = {"threads": threads, "max_batch_size": batches[-1], "models": {}}
            tried = settings.model_copy(update=update)
            prepared = prepare(bundle, graph, golden[graph], open_backend(tried), tried)
            stack.callback(prepared.runtime.close)
            runtimes[threads] = prepared
        outputs = _wanted(bundle, graph)
        found = [_contender(shape, runtimes[shape.threads], golden[graph].inputs, outputs, batches) for shape in shapes]
        for contender in found:
            for batch in contender.inputs:
                contender.run(batch)
        yield found


def _contender(
    shape: Shape, prepared: PreparedGraph, golden: Arrays, outputs: Sequence[str], batches: Sequence[int]
) -> Contender:
    empty = Contender(shape, prepared.runtime, prepared.limits, {}, outputs)
    sizes = sorted({empty.rows(batch) for batch in batches})
    return replace(empty, inputs={size: _full(golden, size) for size in sizes})


def _full(golden: Arrays, batch: int) -> Arrays:
    which = np.arange(batch) % len(next(iter(golden.values())))
    return {name: np.ascontiguousarray(array[which]) for name, array in golden.items()}


def _wanted(bundle: Bundle, graph: GraphName) -> list[str]:
    names = [tensor.name for tensor in bundle.manifest.graphs[graph].outputs]
    return ["pixels"] if "pixels" in names else names  # where there are both, nobody asks for the floats
