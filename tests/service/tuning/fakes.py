"""A graph of known cost, and a clock that only its runs move."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from service.engine.admission import Limits
from service.engine.runtimes.base import Array, Arrays, Runtime
from service.tuning.contenders import Contender
from service.tuning.measure import Point
from service.tuning.shapes import Setup, Shape


class Clock:
    """Seconds of each thread of its own: what one lane runs takes no time of the others."""

    def __init__(self) -> None:
        self._local = threading.local()

    def __call__(self) -> float:
        return float(getattr(self._local, "now", 0.0))

    def pass_by(self, seconds: float) -> None:
        """Time goes by in this thread."""
        self._local.now = self() + seconds


class CostlyRuntime(Runtime):
    """Takes `cost(rows)` seconds of the clock; remembers the batch sizes and the threads that it ran in."""

    def __init__(self, clock: Clock, cost: Callable[[int], float]) -> None:
        self.rows: list[int] = []
        self.threads: set[int] = set()
        self._clock = clock
        self._cost = cost

    @property
    def provider(self) -> str:
        return "fake"

    def run(self, inputs: Arrays, outputs: Sequence[str]) -> dict[str, Array]:  # noqa: ARG002 (nobody looks at them)
        rows = len(inputs["x"])
        self._clock.pass_by(self._cost(rows))
        self.rows.append(rows)
        self.threads.add(threading.get_ident())
        return {"y": inputs["x"]}

    def close(self) -> None: ...


def contender(runtime: Runtime, batches: Sequence[int], lanes: int = 1, threads: int = 1, **limits: Any) -> Contender:
    """A runtime, ready to be measured."""
    made = Limits(**({"max_batch_size": max(batches), "queue_images": 4096} | limits))
    inputs = {batch: {"x": np.zeros((batch, 1))} for batch in batches}
    return Contender(Shape(lanes, threads), runtime, made, inputs, ["y"])


def point(lanes: int, batch: int, p99_ms: float, images_per_s: float, threads: int = 1) -> Point:
    """A point that was measured."""
    setup = Setup(Shape(lanes, threads), batch)
    return Point(setup, median_s=p99_ms / 2000, p99_s=p99_ms / 1000, images_per_s=images_per_s, runs=100)
