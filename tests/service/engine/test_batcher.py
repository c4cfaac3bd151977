"""Callers get their own answers, whatever the others do."""

import asyncio
import threading
from collections import Counter

import numpy as np
import pytest

from service.engine.batcher import Batcher
from service.engine.invariance import Padding
from service.errors import DeadlineError, OverloadedError, RuntimeFailedError, StoppingError
from tests.service.engine.fakes import (
    PATIENCE_S,
    Array,
    FakeRuntime,
    Recorder,
    affine,
    ask,
    batcher_of,
    engine,
    lanes_of,
    rows,
    run,
    until,
)

POISON = -666.0


def fail_on_poison(x: Array) -> Array:
    if (x == POISON).any():
        raise ValueError("poisoned")
    return affine(x)


@pytest.mark.parametrize("lanes", [1, 3])
def test_random_payloads_come_back_to_their_own_callers(lanes: int) -> None:
    rng = np.random.default_rng(lanes)
    payloads = [rng.normal(size=(int(n), 2)) for n in rng.integers(1, 30, size=150)]

    async def main() -> None:
        async with engine(FakeRuntime(), lanes) as batcher:
            answers = await asyncio.gather(*(ask(batcher, payload) for payload in payloads))
        for payload, answer in zip(payloads, answers, strict=True):
            np.testing.assert_array_equal(answer, affine(payload))

    run(main())


def test_requests_that_come_while_a_batch_runs_form_the_next_one() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        runtime.gate.clear()
        async with engine(runtime) as batcher:
            first = ask(batcher, rows(0))
            await until(lambda: len(runtime.batches) == 1)
            others = [ask(batcher, rows(i)) for i in range(1, 6)]
            await asyncio.sleep(0)
            runtime.gate.set()
            await asyncio.gather(first, *others)
        assert [len(batch) for batch in runtime.batches] == [1, 5]

    run(main())


def test_cancelled_caller_leaves_neighbours_served() -> None:
    async def main() -> None:
        runtime, recorder = FakeRuntime(), Recorder()
        runtime.gate.clear()
        async with engine(runtime, observer=recorder) as batcher:
            first = ask(batcher, rows(1))
            await until(lambda: len(runtime.batches) == 1)
            before, leaving, after = (ask(batcher, rows(i)) for i in (2, 3, 4))
            await asyncio.sleep(0)
            leaving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaving
            runtime.gate.set()
            found = await asyncio.gather(first, before, after)
        np.testing.assert_array_equal(np.concatenate(found), affine(rows(1, 2, 4)))
        assert runtime.executed == [1, 2, 4]
        assert recorder.endings == {"ok": 3, "cancelled": 1}

    run(main())


def test_caller_who_leaves_during_the_run_leaves_neighbours_served() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        runtime.gate.clear()
        async with engine(runtime) as batcher:
            blocker = ask(batcher, rows(0))
            await until(lambda: len(runtime.batches) == 1)
            leaving, staying = ask(batcher, rows(1)), ask(batcher, rows(2))
            await asyncio.sleep(0)
            runtime.gate.set()
            await blocker
            runtime.gate.clear()
            leaving.cancel()
            runtime.gate.set()
            np.testing.assert_array_equal(await staying, affine(rows(2)))
            np.testing.assert_array_equal(await ask(batcher, rows(3)), affine(rows(3)))

    run(main())


def test_rest_of_a_large_request_whose_caller_left_is_not_executed() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        runtime.gate.clear()
        async with engine(runtime) as batcher:
            leaving = ask(batcher, rows(*range(100)))
            await until(lambda: len(runtime.batches) == 1)
            leaving.cancel()
            await asyncio.sleep(0)
            runtime.gate.set()
            np.testing.assert_array_equal(await ask(batcher, rows(500)), affine(rows(500)))
        assert runtime.executed == [*range(8), 500]

    run(main())


def test_failing_batch_fails_only_the_poisoned_caller() -> None:
    async def main() -> None:
        runtime, recorder = FakeRuntime(fail_on_poison), Recorder()
        runtime.gate.clear()
        async with engine(runtime, observer=recorder) as batcher:
            first = ask(batcher, rows(0))
            await until(lambda: len(runtime.batches) == 1)
            payloads = [1.0, 2.0, POISON, 3.0, 4.0, POISON, 5.0]
            tasks = [ask(batcher, rows(value)) for value in payloads]
            await asyncio.sleep(0)
            runtime.gate.set()
            found = await asyncio.gather(first, *tasks, return_exceptions=True)
        for value, answer in zip([0.0, *payloads], found, strict=True):
            if value == POISON:
                assert isinstance(answer, RuntimeFailedError)
                assert "poisoned" in answer.detail
            else:
                np.testing.assert_array_equal(answer, affine(rows(value)))
        assert recorder.endings == {"ok": 6, "failed": 2}

    run(main())


def test_caller_who_leaves_while_the_culprit_is_looked_for_is_not_run_again() -> None:
    found_out, go_on = threading.Event(), threading.Event()

    def step(x: Array) -> Array:
        if (x == POISON).any():
            found_out.set()
            assert go_on.wait(PATIENCE_S)
        return fail_on_poison(x)

    async def main() -> None:
        runtime = FakeRuntime(step)
        runtime.gate.clear()
        async with engine(runtime) as batcher:
            first = ask(batcher, rows(0))
            await until(lambda: len(runtime.batches) == 1)
            poisoned, leaving, staying = (ask(batcher, rows(value)) for value in (POISON, 1, 2))
            await asyncio.sleep(0)
            runtime.gate.set()
            await until(found_out.is_set)
            leaving.cancel()
            await asyncio.wait([leaving])
            go_on.set()
            np.testing.assert_array_equal(np.concatenate(await asyncio.gather(first, staying)), affine(rows(0, 2)))
            with pytest.raises(RuntimeFailedError):
                await poisoned
        assert runtime.executed.count(1) == 1
        assert runtime.executed.count(2) > 1

    run(main())


def test_loop_lives_on_after_a_runtime_that_always_failed() -> None:
    failures = iter([True] * 4)

    def step(x: Array) -> Array:
        if next(failures, False):
            raise MemoryError("no room")
        return affine(x)

    async def main() -> None:
        async with engine(FakeRuntime(step)) as batcher:
            for _ in range(4):
                with pytest.raises(RuntimeFailedError, match="no room"):
                    await ask(batcher, rows(1))
            np.testing.assert_array_equal(await ask(batcher, rows(2)), affine(rows(2)))

    run(main())


def test_poison_in_a_large_request_stops_its_other_slices() -> None:
    async def main() -> None:
        runtime = FakeRuntime(fail_on_poison)
        async with engine(runtime) as batcher:
            with pytest.raises(RuntimeFailedError):
                await ask(batcher, rows(POISON, *range(8 * 500)))
            np.testing.assert_array_equal(await ask(batcher, rows(7)), affine(rows(7)))
        assert runtime.executed == [POISON, *range(7), 7]

    run(main())


@pytest.mark.parametrize("change", [-1, 1])
def test_wrong_output_count_fails_the_batch_and_leaks_nothing(change: int) -> None:
    wrong = threading.Event()

    def step(x: Array) -> Array:
        return np.resize(affine(x), (len(x) + change, 1)) if wrong.is_set() else affine(x)

    async def main() -> None:
        runtime = FakeRuntime(step)
        runtime.gate.clear()
        async with engine(runtime) as batcher:
            first = ask(batcher, rows(0))
            await until(lambda: len(runtime.batches) == 1)
            tasks = [ask(batcher, rows(value)) for value in (1, 2, 3)]
            await asyncio.sleep(0)
            wrong.set()
            runtime.gate.set()
            found = await asyncio.gather(first, *tasks, return_exceptions=True)
            assert [type(answer) for answer in found] == [RuntimeFailedError] * 4
            wrong.clear()
            np.testing.assert_array_equal(await ask(batcher, rows(4)), affine(rows(4)))

    run(main())


def test_full_queue_refuses_on_arrival_and_says_when_to_come_back() -> None:
    async def main() -> None:
        runtime, recorder = FakeRuntime(), Recorder()
        runtime.gate.clear()
        async with engine(runtime, observer=recorder, queue_images=10) as batcher:
            running = ask(batcher, rows(0))
            await until(lambda: len(runtime.batches) == 1)
            waiting, leaving = ask(batcher, rows(*range(6))), ask(batcher, rows(*range(4)))
            await asyncio.sleep(0)
            with pytest.raises(OverloadedError, match="10 images wait") as refused:
                await ask(batcher, rows(1))  # while the lane is still busy
            assert refused.value.retry_after_s is not None
            assert refused.value.retry_after_s > 0
            leaving.cancel()
            await asyncio.sleep(0)
            welcome = ask(batcher, rows(9))
            await asyncio.sleep(0)
            runtime.gate.set()
            await asyncio.gather(running, waiting, welcome)
        assert recorder.endings == {"ok": 3, "overloaded": 1, "cancelled": 1}
        assert batcher.queued_images == 0

    run(main())


def test_request_larger_than_the_queue_is_taken_when_nothing_waits() -> None:
    async def main() -> None:
        async with engine(FakeRuntime(), queue_images=10) as batcher:
            np.testing.assert_array_equal(await ask(batcher, rows(*range(30))), affine(rows(*range(30))))

    run(main())


def test_drain_finishes_what_is_under_way_and_refuses_what_is_new() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        runtime.gate.clear()
        async with lanes_of(1) as lanes:
            batcher = batcher_of(runtime, lanes)
            running = ask(batcher, rows(1))
            await until(lambda: len(runtime.batches) == 1)
            waiting = ask(batcher, rows(*range(20)))
            await asyncio.sleep(0)
            lanes.refuse()
            with pytest.raises(StoppingError):
                await ask(batcher, rows(3))
            drained = asyncio.create_task(batcher.drained(PATIENCE_S))
            await asyncio.sleep(0)
            assert not drained.done()
            runtime.gate.set()
            await drained
            np.testing.assert_array_equal(await running, affine(rows(1)))
            np.testing.assert_array_equal(await waiting, affine(rows(*range(20))))

    run(main())


def test_what_the_drain_has_no_time_for_is_told_so() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        runtime.gate.clear()
        async with lanes_of(1) as lanes:
            batcher = batcher_of(runtime, lanes)
            tasks = [ask(batcher, rows(1))]
            await until(lambda: len(runtime.batches) == 1)
            tasks.append(ask(batcher, rows(2)))
            await asyncio.sleep(0)
            lanes.refuse()
            await batcher.drained(0.0)
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(answer) for answer in found] == [StoppingError, StoppingError]
            runtime.gate.set()
        assert runtime.executed == [1]

    run(main())


def test_idle_lane_waits_for_a_full_batch_as_long_as_it_is_told() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        async with engine(runtime, lanes=2, max_batch_size=4, max_wait_s=PATIENCE_S) as batcher:
            tasks = [ask(batcher, rows(value)) for value in (1, 2, 3)]
            await asyncio.sleep(0.02)
            assert runtime.executed == []
            tasks.append(ask(batcher, rows(4)))
            await asyncio.gather(*tasks)
        assert runtime.executed == [1, 2, 3, 4]
        assert len(runtime.batches) == 1

    run(main())


def test_window_closes_without_a_full_batch() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        async with engine(runtime, max_batch_size=4, max_wait_s=0.01) as batcher:
            await asyncio.gather(*(ask(batcher, rows(value)) for value in (1, 2)))
        assert [len(batch) for batch in runtime.batches] == [2]

    run(main())


def test_requests_of_other_shapes_or_outputs_never_share_a_batch() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        runtime.gate.clear()
        async with engine(runtime) as batcher:
            blocker = ask(batcher, rows(0))
            await until(lambda: len(runtime.batches) == 1)
            narrow = [ask(batcher, np.full((1, 2), float(i))) for i in range(3)]
            wide = [ask(batcher, np.full((1, 5), float(i))) for i in range(3)]
            both = asyncio.create_task(batcher.run({"x": np.full((1, 5), 9.0)}, ["y", "y2"]))
            await asyncio.sleep(0)
            runtime.gate.set()
            await asyncio.gather(blocker, *narrow, *wide)
            assert set(await both) == {"y", "y2"}
        assert sorted(batch.shape for batch in runtime.batches[1:]) == [(1, 5), (3, 2), (3, 5)]

    run(main())


def test_padding_reaches_the_runtime_and_no_caller() -> None:
    async def main() -> None:
        runtime, recorder = FakeRuntime(), Recorder()
        async with engine(runtime, observer=recorder, padding=Padding(4, 4)) as batcher:
            answer = await ask(batcher, rows(1, 2, 3, 4, 5))
        np.testing.assert_array_equal(answer, affine(rows(1, 2, 3, 4, 5)))
        assert runtime.executed == [1, 2, 3, 4, 5, 5, 5, 5]
        assert recorder.rows == [(5, 3)]

    run(main())


@pytest.mark.parametrize("seed", range(5))
def test_leavers_latecomers_and_poison_at_random_never_touch_the_others(seed: int) -> None:
    rng = np.random.default_rng(seed)

    async def one(batcher: Batcher) -> str:
        fate = str(rng.choice(["stays", "leaves", "is late", "poisoned"], p=[0.7, 0.1, 0.1, 0.1]))
        payload = rng.normal(size=(int(rng.integers(1, 20)), 1))
        if fate == "poisoned":
            payload[rng.integers(len(payload))] = POISON
        await asyncio.sleep(float(rng.uniform(0, 0.02)))
        now = asyncio.get_running_loop().time()
        task = ask(batcher, payload, now + float(rng.uniform(0, 0.005)) if fate == "is late" else None)
        if fate == "leaves":
            await asyncio.sleep(float(rng.uniform(0, 0.003)))
            task.cancel()
        try:
            np.testing.assert_array_equal(await task, affine(payload))
        except RuntimeFailedError:
            assert fate == "poisoned"
            return "failed"
        except asyncio.CancelledError:
            assert fate == "leaves"
            return "cancelled"
        except DeadlineError:
            assert fate == "is late"
            return "deadline"
        except OverloadedError:
            assert fate == "is late"
            return "overloaded"
        assert fate != "poisoned"
        return "ok"

    async def main() -> None:
        recorder = Recorder()
        async with engine(FakeRuntime(fail_on_poison), lanes=3, observer=recorder) as batcher:
            found = await asyncio.gather(*(one(batcher) for _ in range(300)))
        assert recorder.endings == Counter(found)
        assert batcher.queued_images == 0

    run(main())
