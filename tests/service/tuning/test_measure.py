"""Figures follow from what runs cost; every lane runs, every setup has its turn in every round."""

import threading
from collections import Counter

import pytest

from service.engine.invariance import Padding
from service.engine.runtimes.base import Array
from service.tuning.contenders import MeasurementError
from service.tuning.measure import BETWEEN_S, ROUNDS, measure
from service.tuning.shapes import Setup, Shape
from tests.service.engine.fakes import FakeRuntime
from tests.service.tuning.fakes import Clock, CostlyRuntime, contender


def test_figures_are_those_of_the_runs() -> None:
    clock = Clock()
    steady = CostlyRuntime(clock, lambda rows: 0.002 * rows)
    (small, large) = measure([contender(steady, [1, 8], lanes=3)], seconds=1, clock=clock)
    assert (small.setup, large.setup) == (Setup(Shape(3, 1), 1), Setup(Shape(3, 1), 8))
    assert (small.median_s, small.p99_s) == pytest.approx((0.002, 0.002))
    assert large.median_s == pytest.approx(0.016)
    assert large.images_per_s == pytest.approx(3 * 8 / (0.016 + BETWEEN_S))
    assert large.predicted_p99_s == pytest.approx(2 * (0.016 + BETWEEN_S))
    # In each round 0.1 s, of which every lane uses all, and its last run may end a little later.
    assert large.runs == pytest.approx(3 * ROUNDS * 0.1 / 0.016, rel=0.2)


def test_runs_that_are_rarely_slow_show_in_the_p99_and_not_in_the_median() -> None:
    clock = Clock()
    many = iter(range(10**9))
    jumpy = CostlyRuntime(clock, lambda _: 0.1 if next(many) % 20 == 19 else 0.001)
    (found,) = measure([contender(jumpy, [4])], seconds=5, clock=clock)
    assert (found.median_s, found.p99_s) == pytest.approx((0.001, 0.1))


def test_setup_whose_share_is_shorter_than_a_run_is_run_once_in_each_round_and_lane() -> None:
    clock = Clock()
    (found,) = measure([contender(CostlyRuntime(clock, lambda _: 9.0), [1], lanes=2)], seconds=1, clock=clock)
    assert found.runs == 2 * ROUNDS


def test_rounds_are_interleaved_and_each_has_every_setup() -> None:
    clock = Clock()
    runtimes = [CostlyRuntime(clock, lambda _: 1.0) for _ in range(2)]
    order: list[tuple[int, list[int]]] = []

    def look(number: int) -> None:
        order.append((number, [len(runtime.rows) for runtime in runtimes]))

    points = measure([contender(runtime, [1, 2, 4]) for runtime in runtimes], 0.001, clock, look)
    assert len(points) == 3  # the two contenders have the same shape here, and so the same setups
    assert order == [(number + 1, [3 * number, 3 * number]) for number in range(ROUNDS)]
    assert all(Counter(runtime.rows) == {1: ROUNDS, 2: ROUNDS, 4: ROUNDS} for runtime in runtimes)


def test_as_many_runs_are_under_way_as_there_are_lanes() -> None:
    """The first run of each thread waits until three are under way: with fewer lanes at once none would ever end."""
    meeting = threading.Barrier(3, timeout=20)
    met = threading.local()

    def meet(x: Array) -> Array:
        if not hasattr(met, "once"):
            met.once = meeting.wait()
        return x

    (found,) = measure([contender(FakeRuntime(meet), [2], lanes=3)], seconds=1e-6)
    assert found.runs >= 3 * ROUNDS


@pytest.mark.parametrize(
    ("error", "words"), [(ValueError("no such kernel"), "failed: no such kernel"), (MemoryError(), "ran out of memory")]
)
def test_batch_that_cannot_be_run_ends_it_with_a_word_on_which_and_why(error: Exception, words: str) -> None:
    def fail(
        x: Array,
    ) -> Array:
        if len(x) == 8:
            raise error
        return x

    with pytest.raises(MeasurementError, match=f"batch of 8 with lanes = 2, threads = 1 {words}.*--largest"):
        measure([contender(FakeRuntime(fail), [4, 8], lanes=2)], seconds=0.01)


def test_batch_has_the_rows_that_the_service_would_give_it() -> None:
    padded = contender(FakeRuntime(), [8, 16], padding=Padding(8, 8))
    assert [padded.rows(batch) for batch in (1, 8, 9)] == [8, 8, 16]
    assert contender(FakeRuntime(), [1]).rows(16) == 1  # no padding helped: it runs one image at a time
