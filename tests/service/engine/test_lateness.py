"""Who is told at once that there will be no answer in time, and who is tried all the same."""

import asyncio
import time

import numpy as np
import pytest

from service.engine.cost import CostModel
from service.errors import DeadlineError
from tests.service.engine.fakes import (
    PATIENCE_S,
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


def test_deadline_that_passes_in_the_queue_is_answered_then_and_never_executed() -> None:
    async def main() -> None:
        runtime, recorder = FakeRuntime(), Recorder()
        runtime.gate.clear()
        async with engine(runtime, observer=recorder) as batcher:
            first = ask(batcher, rows(1))
            await until(lambda: len(runtime.batches) == 1)
            late = ask(batcher, rows(2), deadline=asyncio.get_running_loop().time() + 0.02)
            patient = ask(batcher, rows(3), deadline=asyncio.get_running_loop().time() + 2 * PATIENCE_S)
            with pytest.raises(DeadlineError):
                await late  # while the lane is still busy
            runtime.gate.set()
            await asyncio.gather(first, patient)
        assert runtime.executed == [1, 3]
        assert recorder.endings == {"ok": 2, "deadline": 1}

    run(main())


def test_who_would_be_answered_too_late_is_told_so_and_makes_room_for_others() -> None:
    async def main() -> None:
        runtime, recorder = FakeRuntime(), Recorder()
        runtime.gate.clear()
        async with engine(runtime, observer=recorder) as batcher:
            first = ask(batcher, rows(1))
            await until(lambda: len(runtime.batches) == 1)
            tight = ask(batcher, rows(2), deadline=asyncio.get_running_loop().time() + PATIENCE_S)
            patient = ask(batcher, rows(*[3] * 8))
            await asyncio.sleep(0)
            batcher.cost.learn(rows=1, seconds=1000 * PATIENCE_S)  # runs are slower than when these were let in
            assert batcher._admission._margin.seconds == 0
            runtime.gate.set()
            with pytest.raises(DeadlineError, match="could not be there before the deadline"):
                await tight  # long before its deadline
            learnt = batcher._admission._margin.seconds
            await asyncio.gather(first, patient)
        assert 2 not in runtime.executed
        assert recorder.endings == {"ok": 2, "deadline": 1}
        assert learnt > 0  # so that fewer of the next are let in

    run(main())


def test_a_batch_is_expected_back_after_a_slow_run_and_who_is_left_out_is_out_everywhere() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        runtime.gate.clear()
        async with lanes_of(1) as lanes:
            batcher = batcher_of(runtime, lanes, cost=CostModel([(8, PATIENCE_S)]))
            first = ask(batcher, rows(0))
            await until(lambda: len(runtime.batches) == 1)
            loop_time = asyncio.get_running_loop().time()
            tasks = [ask(batcher, rows(n), deadline=loop_time + n * PATIENCE_S) for n in (2.5, 2.7)]
            tasks.append(ask(batcher, rows(*[9] * 8)))
            await asyncio.sleep(0)
            with lanes.lock:
                jobs = {float(np.ravel(job.inputs["x"])[0]): job for job in batcher._callers.pending}
                taken = batcher.take(time.monotonic() + 1.3 * PATIENCE_S)
            assert taken is not None
            assert [job.open for n, job in sorted(jobs.items()) if n in (2.5, 2.7)] == [False, True]
            assert {job for job, _, _ in taken[0]._slices} == {jobs[2.7], jobs[9.0]}
            runtime.gate.set()
            taken[0].run()
            with pytest.raises(DeadlineError):
                await tasks[0]
            await asyncio.gather(first, *tasks[1:])

    run(main())


def test_whoever_could_have_a_lane_at_once_is_tried_whatever_was_measured() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        async with engine(runtime, lanes=2) as batcher:
            await until(lambda: batcher._lanes.idle == 2)
            batcher.cost.learn(rows=1, seconds=1000 * PATIENCE_S)
            tight = ask(batcher, rows(1), deadline=asyncio.get_running_loop().time() + PATIENCE_S)
            patient = ask(batcher, rows(2))
            await asyncio.gather(tight, patient)

    run(main())


@pytest.mark.parametrize(("size", "allowed_s"), [(1, -1.0), (1, 5.0), (9, 5.0)])
def test_deadline_that_cannot_be_met_is_refused_on_arrival(size: int, allowed_s: float) -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        runtime.gate.clear()
        async with engine(runtime) as batcher:
            first = ask(batcher, rows(1))
            await until(lambda: len(runtime.batches) == 1)
            waiting = ask(batcher, rows(2))
            await asyncio.sleep(0)
            batcher.cost.learn(rows=1, seconds=10.0)
            with pytest.raises(DeadlineError, match="deadline is in"):
                await ask(batcher, rows(*[3] * size), deadline=asyncio.get_running_loop().time() + allowed_s)
            runtime.gate.set()
            await asyncio.gather(first, waiting)
        assert 3 not in runtime.executed

    run(main())


def test_one_slow_run_does_not_refuse_everybody_for_ever() -> None:
    async def main() -> None:
        async with engine(FakeRuntime()) as batcher:
            batcher.cost.learn(rows=1, seconds=1000.0)
            answer = await ask(batcher, rows(1), deadline=asyncio.get_running_loop().time() + PATIENCE_S)
            np.testing.assert_array_equal(answer, affine(rows(1)))

    run(main())


def test_small_request_behind_a_large_one_is_not_refused_for_the_large_ones_time() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        runtime.gate.clear()
        async with engine(runtime) as batcher:
            batcher.cost.learn(rows=1, seconds=1.0)
            large = ask(batcher, rows(*range(1000)))
            await until(lambda: len(runtime.batches) == 1)
            small = ask(batcher, rows(5), deadline=asyncio.get_running_loop().time() + 60)  # 1,000 s of work wait
            await asyncio.sleep(0)
            runtime.gate.set()
            np.testing.assert_array_equal(await small, affine(rows(5)))
            await large

    run(main())
