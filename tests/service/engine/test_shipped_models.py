"""Every graph of every bundle that ships gives each row the same bytes alone and in any interleaving.

Several models share two lanes, as they do in the service; nothing is compared with a tolerance.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bundle.golden import load_golden
from bundle.manifest import GraphSpec, TensorSpec
from bundle.store import Store
from service.engine.backends import OnnxBackend
from service.engine.batcher import Batcher
from service.engine.lanes import Lanes
from service.engine.observer import SilentObserver, Source
from service.engine.prepare import PreparedGraph, prepare
from service.settings import Settings
from tests.service.engine.fakes import Array, lanes_of, run

ROOT = Path(__file__).parents[3] / "models"
POOL = 16  # rows that requests are made of
FREE_AXIS = 3


@dataclass(frozen=True)
class Graph:
    """A graph, rows to run it on, and what each of them gives by itself."""

    source: Source
    spec: GraphSpec
    prepared: PreparedGraph
    inputs: dict[str, Array]
    alone: list[dict[str, bytes]]

    def batcher(self, lanes: Lanes, largest: int | None) -> Batcher:
        limits = self.prepared.limits
        limits = replace(limits, max_batch_size=limits.padding.rows(largest or limits.max_batch_size))
        return Batcher(self.source, self.prepared.runtime, lanes, limits, SilentObserver(), self.prepared.cost)


def some_rows(tensor: TensorSpec, rng: np.random.Generator) -> Array:
    shape = (POOL, *(FREE_AXIS if isinstance(axis, str) else axis for axis in tensor.shape[1:]))
    if tensor.dtype == "int64":
        return np.zeros(shape, dtype=np.int64)
    if tensor.name == "image":
        return rng.uniform(-1, 1, size=shape).astype(np.float32)
    return rng.standard_normal(size=shape, dtype=np.float32)


async def rows_alone(graph: Graph) -> None:
    async with lanes_of(1) as lanes:
        batcher = graph.batcher(lanes, 1)
        for row in range(POOL):
            one = {name: array[row : row + 1] for name, array in graph.inputs.items()}
            answer = await batcher.run(one, [tensor.name for tensor in graph.spec.outputs])
            graph.alone.append({name: array[0].tobytes() for name, array in answer.items()})


@pytest.fixture(scope="module")
def graphs() -> Iterator[list[Graph]]:
    backend, rng, made = OnnxBackend(Settings(store=ROOT, device="cpu")), np.random.default_rng(0), []
    for bundle in Store(ROOT).listing().bundles:
        golden = load_golden(bundle.path / bundle.manifest.golden.path)
        for name, spec in bundle.manifest.graphs.items():
            prepared = prepare(bundle, name, golden[name], backend, Settings(store=ROOT, device="cpu"))
            inputs = {tensor.name: some_rows(tensor, rng) for tensor in spec.inputs}
            source = Source(bundle.manifest.name, bundle.manifest.version, name)
            made.append(Graph(source, spec, prepared, inputs, []))
            run(rows_alone(made[-1]))
    yield made
    for graph in made:
        graph.prepared.runtime.close()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    requests=st.lists(
        st.tuples(st.integers(0, 99), st.integers(0, POOL - 1), st.integers(1, 12), st.booleans()),
        min_size=2,
        max_size=20,
    ),
    largest=st.sampled_from([None, 1, 3, 5, 8]),
)
def test_any_interleaving_of_all_models_gives_the_bytes_of_each_row_alone(
    graphs: list[Graph], requests: list[tuple[int, int, int, bool]], largest: int | None
) -> None:
    asked = [(graphs[number % len(graphs)], start, size, pause) for number, start, size, pause in requests]
    run(compare(graphs, asked, largest))


def test_all_graphs_at_once_give_the_bytes_of_each_row_alone(graphs: list[Graph]) -> None:
    """No graph is left to chance."""
    run(compare(graphs, [(graph, 3, 13, False) for graph in graphs], None))


async def compare(graphs: list[Graph], asked: list[tuple[Graph, int, int, bool]], largest: int | None) -> None:
    async with lanes_of(2) as lanes:
        batchers = {graph.source: graph.batcher(lanes, largest) for graph in graphs}
        tasks = []
        for graph, start, size, pause in asked:
            which = (np.arange(size) + start) % POOL
            inputs = {name: np.ascontiguousarray(array[which]) for name, array in graph.inputs.items()}
            outputs = [tensor.name for tensor in graph.spec.outputs]
            tasks.append((graph, which, asyncio.create_task(batchers[graph.source].run(inputs, outputs))))
            if pause:
                await asyncio.sleep(0.0005)
        for graph, which, task in tasks:
            answer = await task
            for name, array in answer.items():
                found = [row.tobytes() for row in array]
                assert found == [graph.alone[row][name] for row in which], f"{graph.source}, {name}"
