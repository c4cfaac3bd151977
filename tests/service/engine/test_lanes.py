"""Lanes run at once, share fairly, sleep when idle, and say when they die."""

import asyncio
import contextlib
import threading
import time

import numpy as np
import pytest

from service.engine.lanes import Lanes
from service.errors import ModelUnavailableError, RuntimeFailedError
from tests.service.engine.fakes import (
    PATIENCE_S,
    Array,
    FakeRuntime,
    affine,
    ask,
    batcher_of,
    engine,
    lanes_of,
    rows,
    run,
    until,
)


def test_lanes_run_at_the_same_time() -> None:
    meeting = threading.Barrier(2)

    def step(x: Array) -> Array:
        meeting.wait(PATIENCE_S)  # breaks, and fails the batch, unless another lane comes too
        return affine(x)

    async def main() -> None:
        async with lanes_of(2) as lanes:
            batcher = batcher_of(FakeRuntime(step), lanes, max_batch_size=1)
            tasks = [ask(batcher, rows(1))]
            await until(lambda: meeting.n_waiting == 1)
            assert lanes.busy == 1
            tasks.append(ask(batcher, rows(2)))
            np.testing.assert_array_equal(np.concatenate(await asyncio.gather(*tasks)), affine(rows(1, 2)))
            await until(lambda: lanes.busy == 0)

    run(main())


def test_slices_of_one_request_spread_over_idle_lanes() -> None:
    meeting = threading.Barrier(3)

    def step(x: Array) -> Array:
        meeting.wait(PATIENCE_S)
        return affine(x)

    async def main() -> None:
        async with engine(FakeRuntime(step), lanes=3, max_batch_size=2) as batcher:
            np.testing.assert_array_equal(await ask(batcher, rows(*range(6))), affine(rows(*range(6))))

    run(main())


def test_request_for_a_thousand_does_not_starve_requests_for_one() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        runtime.gate.clear()
        async with engine(runtime) as batcher:
            large = ask(batcher, rows(*range(1000)))
            await until(lambda: len(runtime.batches) == 1)
            small = [ask(batcher, rows(-1.0 - i)) for i in range(5)]
            await asyncio.sleep(0)
            runtime.gate.set()
            await asyncio.gather(*small)
            np.testing.assert_array_equal(await large, affine(rows(*range(1000))))
        assert all(value in runtime.executed[8:24] for value in (-1.0, -2.0, -3.0, -4.0, -5.0))

    run(main())


def test_busy_model_does_not_starve_another_one() -> None:
    def slow(x: Array) -> Array:
        time.sleep(0.001)
        return affine(x)

    async def main() -> None:
        crowded, quiet = FakeRuntime(slow), FakeRuntime(slow)
        crowded.gate.clear()
        async with lanes_of(1) as lanes:
            first, second = batcher_of(crowded, lanes), batcher_of(quiet, lanes)
            for batcher in (first, second):
                batcher.cost.learn(rows=1, seconds=0.001)
            crowd = [ask(first, rows(*range(8))) for _ in range(200)]
            await until(lambda: len(crowded.batches) == 1)
            few = [ask(second, rows(*range(8))) for _ in range(5)]
            await asyncio.sleep(0)
            crowded.gate.set()
            await asyncio.gather(*few)
            assert len(crowded.batches) < 20
            await asyncio.gather(*crowd)

    run(main())


class Counted:
    """Work without end, whose queue may run empty whenever a batch of it runs."""

    def __init__(self, lanes: Lanes, runs_empty: bool, total: list["Counted"]) -> None:
        self.runs_empty = runs_empty
        self._lanes = lanes
        self._ready = True
        self._total = total

    def ready_at(self) -> float | None:
        return 0.0 if self._ready and len(self._total) < 100 else None

    def take(self, now: float) -> tuple["Counted", float]:  # noqa: ARG002
        self._total.append(self)
        self._ready = not self.runs_empty
        return self, 0.001

    def run(self) -> None:
        with self._lanes.lock:
            self._ready = True
            self._lanes.call(self)

    def backlog_s(self) -> float:
        return 0.001

    def abandon(self) -> None:
        raise AssertionError("the lane lives")


def test_model_whose_queue_runs_empty_now_and_then_gains_no_credit_by_it() -> None:
    async def main() -> None:
        total: list[Counted] = []
        async with lanes_of(1) as lanes:
            steady, returning = Counted(lanes, False, total), Counted(lanes, True, total)
            with lanes.lock:
                lanes.call(steady)
                lanes.call(returning)
            await until(lambda: len(total) == 100)
        assert 45 <= total.count(steady) <= 55

    run(main())


def test_idle_engine_uses_no_cpu() -> None:
    async def main() -> None:
        async with engine(FakeRuntime(), lanes=4) as batcher:
            await ask(batcher, rows(1))
            cpu, wall = time.process_time(), time.monotonic()
            await asyncio.sleep(0.5)
            share = (time.process_time() - cpu) / (time.monotonic() - wall)
        assert share < 0.05

    run(main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_callers_are_answered_and_new_ones_refused_when_the_last_lane_dies() -> None:
    def die(_: Array) -> Array:
        raise SystemExit  # no Exception: it ends the thread

    async def main() -> None:
        runtime = FakeRuntime(die)
        runtime.gate.clear()
        async with lanes_of(1) as lanes:
            batcher = batcher_of(runtime, lanes, max_batch_size=1)
            running = ask(batcher, rows(1))
            await until(lambda: len(runtime.batches) == 1)
            waiting = ask(batcher, rows(2))
            await asyncio.sleep(0)
            runtime.gate.set()
            with pytest.raises(RuntimeFailedError):
                await running
            with pytest.raises(ModelUnavailableError):
                await waiting
            assert lanes.alive == 0
            with pytest.raises(ModelUnavailableError):
                await ask(batcher, rows(3))

    run(main())


def test_closing_ends_every_thread() -> None:
    before = threading.active_count()

    async def main() -> None:
        async with engine(FakeRuntime(), lanes=3) as batcher:
            await ask(batcher, rows(1))
            assert threading.active_count() >= before + 3

    run(main())
    assert threading.active_count() == before


def test_answer_for_a_loop_that_is_gone_does_not_break_the_lane() -> None:
    runtime = FakeRuntime()
    runtime.gate.clear()
    before = set(threading.enumerate())

    async def leave_with_a_batch_in_the_lane() -> Lanes:
        lanes = Lanes(1)
        task = ask(batcher_of(runtime, lanes), rows(1))
        await until(lambda: len(runtime.batches) == 1)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        return lanes

    lanes = asyncio.run(leave_with_a_batch_in_the_lane())
    runtime.gate.set()
    run(lanes.close())
    assert set(threading.enumerate()) <= before


def test_lane_that_hangs_does_not_keep_the_service_from_stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.lanes._JOIN_S", 0.01)
    runtime = FakeRuntime()
    runtime.gate.clear()

    async def main() -> None:
        lanes = Lanes(1)
        task = ask(batcher_of(runtime, lanes), rows(1))
        await until(lambda: len(runtime.batches) == 1)
        task.cancel()
        await lanes.close()
        assert lanes.alive == 1
        runtime.gate.set()
        await until(lambda: lanes.alive == 0)

    run(main())


def test_rest_that_a_full_batch_leaves_behind_waits_no_second_window() -> None:
    async def main() -> None:
        async with engine(FakeRuntime(), max_batch_size=4, max_wait_s=2.0) as batcher:
            begun = time.monotonic()
            await ask(batcher, rows(*range(6)))
            assert time.monotonic() - begun < 3.0  # one window, not two

    run(main())
