"""Drive each setup at full load, in turns, round after round: what disturbs the machine disturbs all of them alike."""

import random
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from service.engine.plan import BETWEEN_RUNS_MS
from service.tuning.contenders import Contender
from service.tuning.shapes import Setup

ROUNDS = 5
BETWEEN_S = BETWEEN_RUNS_MS / 1000
_SHARE = 99


@dataclass(frozen=True)
class Point:
    """What was measured of one setup.

    Attributes:
        setup: Lanes, threads, images per run.
        median_s: Of a run, in seconds, with all lanes busy.
        p99_s: 99th percentile of a run; of less than 100 runs it is the longest.
        images_per_s: Of all lanes together, with what a lane spends between two runs; median of the rounds.
        runs: How many were timed.
    """

    setup: Setup
    median_s: float
    p99_s: float
    images_per_s: float
    runs: int

    @property
    def predicted_p99_s(self) -> float:
        """Seconds until a request is answered: one batch that is under way, then its own, each at its p99."""
        return 2 * (self.p99_s + BETWEEN_S)


def measure(
    contenders: Sequence[Contender],
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int], None] = lambda _: None,
) -> list[Point]:
    """Time every setup of every contender, as many runs at once as it has lanes.

    Args:
        contenders: What to measure, warmed.
        seconds: Of all measuring together; more if single runs are longer than their share.
        clock: Seconds, read in the threads that run.
        progress: Told the round, from 1 to `ROUNDS`, before it begins.

    Raises:
        MeasurementError: If a batch cannot be run.
    """
    setups = [(contender, setup) for contender in contenders for setup in contender.setups]
    found: dict[Setup, list[list[list[float]]]] = {setup: [] for _, setup in setups}
    share = seconds / (ROUNDS * len(setups))
    for number in range(1, ROUNDS + 1):
        progress(number)
        # Another order in each round, the same each time: nobody always follows the one who heats the caches.
        for contender, setup in random.Random(number).sample(setups, len(setups)):
            found[setup].append(_turn(contender, setup.batch, share, clock))
    return [_point(setup, rounds) for setup, rounds in found.items()]


def _turn(contender: Contender, batch: int, seconds: float, clock: Callable[[], float]) -> list[list[float]]:
    """Seconds of each run of each lane."""
    lanes = contender.shape.at_once
    together = threading.Barrier(lanes)
    left = set(range(lanes))  # lanes whose time is not over: until then, all keep the device busy

    def lane(number: int) -> list[float]:
        took: list[float] = []
        together.wait()
        try:
            end = clock() + seconds
            while number in left:
                start = clock()
                contender.run(batch)
                now = clock()
                took.append(now - start)
                if now >= end:
                    left.discard(number)
            while left:
                contender.run(batch)
        finally:
            left.discard(number)
        return took

    with ThreadPoolExecutor(lanes, thread_name_prefix="tune") as pool:
        return [future.result() for future in [pool.submit(lane, number) for number in range(lanes)]]


def _point(setup: Setup, rounds: list[list[list[float]]]) -> Point:
    runs = sorted(seconds for lanes in rounds for lane in lanes for seconds in lane)
    rates = [sum(setup.batch / (statistics.fmean(lane) + BETWEEN_S) for lane in lanes) for lanes in rounds]
    rank = -(-_SHARE * len(runs) // 100)  # nearest rank: a value that was measured, never one between two
    return Point(setup, statistics.median(runs), runs[rank - 1], statistics.median(rates), len(runs))
