"""A runtime that does what a test says, and an engine around it."""

# ruff: noqa: ARG002 (an observer need not look at all that it is told)

import asyncio
import contextlib
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.batcher import Batcher, Limits
from service.engine.cost import CostModel
from service.engine.lanes import Lanes
from service.engine.observer import Ending, EngineObserver, SilentObserver, Source
from service.engine.runtimes.base import Arrays, Runtime

Array = NDArray[Any]

PATIENCE_S = 20.0  # a test that would hang fails instead


def affine(x: Array) -> Array:
    """What the fake runtime computes: row by row, exact in float64."""
    return np.asarray(3 * x + 1)


class FakeRuntime(Runtime):
    """Computes `affine` of input `x`, remembers what it ran, and waits at its gate.

    Args:
        step: Runs in place of `affine`, to fail, to miscount or to wait.
    """

    def __init__(self, step: Callable[[Array], Array] = affine) -> None:
        self.batches: list[Array] = []
        self.gate = threading.Event()
        self.gate.set()
        self._step = step
        self._lock = threading.Lock()

    @property
    def provider(self) -> str:
        return "fake"

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, Array]:
        with self._lock:
            self.batches.append(inputs["x"].copy())
        assert self.gate.wait(PATIENCE_S)
        return {name: self._step(inputs["x"]) for name in outputs}

    def close(self) -> None:
        self.gate.set()

    @property
    def executed(self) -> list[float]:
        """First value of every row that ran, in order."""
        return [float(row.flat[0]) for batch in list(self.batches) for row in batch]


class Recorder(SilentObserver):
    """Counts what the engine says."""

    def __init__(self) -> None:
        self.endings: Counter[Ending] = Counter()
        self.rows: list[tuple[int, int]] = []
        self.rebuilds: list[str] = []
        self.sizes: list[int] = []

    def batch(self, source: Source, images: int, padding: int, run_s: float) -> None:
        self.rows.append((images, padding))

    def ended(self, source: Source, ending: Ending) -> None:
        self.endings[ending] += 1

    def rebuilt(self, source: Source, reason: str) -> None:
        self.rebuilds.append(reason)

    def shrunk(self, source: Source, max_batch_size: int) -> None:
        self.sizes.append(max_batch_size)


@contextlib.asynccontextmanager
async def lanes_of(count: int) -> AsyncIterator[Lanes]:
    """Lanes that end with the block."""
    lanes = Lanes(count)
    try:
        yield lanes
    finally:
        await lanes.close()


def batcher_of(
    runtime: Runtime,
    lanes: Lanes,
    observer: EngineObserver | None = None,
    cost: CostModel | None = None,
    reopen: Callable[[], Runtime] | None = None,
    **limits: Any,
) -> Batcher:
    """A batcher with small limits unless others are given."""
    made = Limits(**({"max_batch_size": 8, "queue_images": 4096} | limits))
    return Batcher(Source("fake", 1, "decode"), runtime, lanes, made, observer or SilentObserver(), cost, reopen)


@contextlib.asynccontextmanager
async def engine(
    runtime: FakeRuntime, lanes: int = 1, observer: EngineObserver | None = None, **limits: Any
) -> AsyncIterator[Batcher]:
    """One batcher with its own lanes; the gate is opened at the end, so that nothing hangs."""
    async with lanes_of(lanes) as made:
        try:
            yield batcher_of(runtime, made, observer, **limits)
        finally:
            runtime.gate.set()


def ask(batcher: Batcher, x: Array, deadline: float | None = None) -> "asyncio.Task[Array]":
    """A caller: a task that gives the answer for `x`."""

    async def answer() -> Array:
        return (await batcher.run({"x": x}, ["y"], deadline))["y"]

    return asyncio.create_task(answer())


def rows(*values: float) -> Array:
    """One row per value."""
    return np.array(values, dtype=np.float64)[:, None]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that threads bring about."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it never came true"
        await asyncio.sleep(0.001)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test's coroutine; one that hangs fails."""

    async def limited() -> None:
        async with asyncio.timeout(2 * PATIENCE_S):
            await main

    asyncio.run(limited())
