"""Short runs of an idle engine are made on the event loop, and nothing else about them differs."""

import asyncio
import gc
import threading
import time
from typing import Any

import numpy as np
import pytest

from service.engine import allowance
from service.engine.allowance import Allowance
from service.engine.cost import CostModel
from service.engine.devices import Device
from service.engine.lanes import Lanes
from service.engine.plan import at_once_s
from service.engine.timings import Timings
from service.errors import DeadlineError, RuntimeFailedError, StoppingError
from service.settings import Settings
from tests.service.engine.fakes import Array, FakeRuntime, Recorder, affine, ask, batcher_of, lanes_of, rows, run, until

AT_ONCE_S = 0.01
CHEAP = ((1, 1e-4), (8, 2e-4))
DEAR = ((1, 0.1), (8, 0.2))


async def until_idle(lanes: Lanes) -> None:
    await until(lambda: lanes.idle == lanes.alive)


class Whereabouts(FakeRuntime):
    """Remembers which thread ran."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__(self._note)
        self.threads: list[int] = []
        self.seconds = seconds

    def _note(self, x: Array) -> Array:
        self.threads.append(threading.get_ident())
        time.sleep(self.seconds)
        if (x < 0).any():
            raise ValueError("poisoned")
        return affine(x)


@pytest.mark.parametrize(
    ("measured", "limit", "here"), [(CHEAP, AT_ONCE_S, True), (DEAR, AT_ONCE_S, False), (CHEAP, 0.0, False)]
)
def test_only_short_runs_are_made_on_the_loop(
    measured: tuple[tuple[int, float], ...], limit: float, here: bool
) -> None:
    async def main() -> None:
        runtime, recorder = Whereabouts(), Recorder()
        async with lanes_of(2) as lanes:
            made = batcher_of(runtime, lanes, recorder, CostModel(measured), at_once_s=limit)
            await until_idle(lanes)
            answers = await asyncio.gather(*(ask(made, rows(i)) for i in range(3)))
        for i, answer in enumerate(answers):
            np.testing.assert_array_equal(answer, affine(rows(i)))
        assert (set(runtime.threads) == {threading.get_ident()}) is here
        assert recorder.endings["ok"] == 3
        assert sum(images for images, _ in recorder.rows) == 3

    run(main())


def test_nothing_runs_on_the_loop_while_a_lane_works_or_the_window_is_open() -> None:
    async def main() -> None:
        busy, runtime, patient = FakeRuntime(), Whereabouts(), Whereabouts()
        busy.gate.clear()
        async with lanes_of(2) as lanes:
            other = batcher_of(busy, lanes)
            cheap = batcher_of(runtime, lanes, None, CostModel(CHEAP), at_once_s=AT_ONCE_S)
            waiting = batcher_of(patient, lanes, None, CostModel(CHEAP), at_once_s=AT_ONCE_S, max_wait_s=0.001)
            await until_idle(lanes)
            held = ask(other, rows(0))
            await until(lambda: lanes.busy == 1)
            await ask(cheap, rows(1))
            busy.gate.set()
            await held
            await until_idle(lanes)
            await ask(waiting, rows(1))
        assert threading.get_ident() not in {*runtime.threads, *patient.threads}

    run(main())


def test_more_than_a_batch_goes_to_the_lanes() -> None:
    async def main() -> None:
        runtime = Whereabouts()
        async with lanes_of(1) as lanes:
            made = batcher_of(runtime, lanes, None, CostModel(CHEAP), at_once_s=AT_ONCE_S)
            await until_idle(lanes)
            np.testing.assert_array_equal(await ask(made, rows(*range(20))), affine(rows(*range(20))))
        assert threading.get_ident() not in runtime.threads

    run(main())


def test_poison_fails_alone_there_too() -> None:
    async def main() -> None:
        runtime = Whereabouts()
        async with lanes_of(1) as lanes:
            made = batcher_of(runtime, lanes, None, CostModel(CHEAP), at_once_s=AT_ONCE_S)
            await until_idle(lanes)
            good, bad, fine = (ask(made, rows(value)) for value in (1, -1, 2))
            with pytest.raises(RuntimeFailedError, match="poisoned"):
                await bad
            np.testing.assert_array_equal(await good, affine(rows(1)))
            np.testing.assert_array_equal(await fine, affine(rows(2)))
        assert set(runtime.threads) == {threading.get_ident()}

    run(main())


def test_runs_that_turn_out_long_leave_the_loop() -> None:
    async def main() -> None:
        runtime = Whereabouts(0.01)
        async with lanes_of(1) as lanes:
            made = batcher_of(runtime, lanes, None, CostModel(CHEAP), at_once_s=0.001)
            for _ in range(20):
                await until_idle(lanes)
                await ask(made, rows(1))
        assert runtime.threads[0] == threading.get_ident()
        assert runtime.threads[-1] != threading.get_ident()

    run(main())


def test_who_is_late_gets_no_run() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        async with lanes_of(1) as lanes:
            made = batcher_of(runtime, lanes, None, CostModel(CHEAP), at_once_s=AT_ONCE_S)
            await until_idle(lanes)
            loop = asyncio.get_running_loop()
            task = ask(made, rows(1), loop.time() + 0.005)
            loop.call_soon(time.sleep, 0.02)  # behind the task, before the batch is taken
            with pytest.raises(DeadlineError):
                await task
        assert not runtime.batches

    run(main())


@pytest.mark.parametrize(
    ("device", "workers", "expected"),
    [("cpu", 2, 0.0005), ("cpu", 1, 0.0), ("cpu", None, 0.0), ("cuda", 2, 0.0)],
)
def test_who_is_alone_or_has_a_gpu_wakes_a_lane(device: str, workers: int | None, expected: float) -> None:
    assert at_once_s(Settings(workers=workers), Device(device)) == expected  # type: ignore[arg-type]


def test_short_runs_are_no_debt_to_a_model_that_comes_later() -> None:
    async def main() -> None:
        async with lanes_of(1) as lanes:
            short = batcher_of(Whereabouts(0.003), lanes, None, CostModel(CHEAP), at_once_s=AT_ONCE_S)
            slow = FakeRuntime(lambda x: (time.sleep(0.002), affine(x))[1])
            other = batcher_of(slow, lanes, None, CostModel(((1, 0.002), (8, 0.002))), max_batch_size=1)
            held = ask(other, rows(0))
            await ask(short, rows(1))  # from now on it has an account
            await held
            for _ in range(100):
                await until_idle(lanes)
                await ask(short, rows(1))
            crowd = [ask(other, rows(i)) for i in range(120)]  # less than the short runs took together
            while len(slow.batches) < 4:
                await asyncio.sleep(0.001)
            await ask(short, rows(1))
            assert sum(task.done() for task in crowd) < 60
            await asyncio.gather(*crowd)

    run(main())


def test_run_that_fails_slowly_is_left_to_the_lanes_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "_BURST_S", 0.0)

    async def main() -> None:
        runtime = Whereabouts(0.01)
        async with lanes_of(1) as lanes:
            made = batcher_of(runtime, lanes, None, CostModel(CHEAP), at_once_s=0.001)
            for _ in range(2):
                await until_idle(lanes)
                with pytest.raises(RuntimeFailedError):
                    await ask(made, rows(-1))
        assert runtime.threads[0] == threading.get_ident()
        assert runtime.threads[-1] != threading.get_ident()

    run(main())


def test_a_long_run_among_many_short_ones_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allowance, "_BURST_S", 60.0)

    async def main() -> None:
        runtime = Whereabouts()
        async with lanes_of(1) as lanes:
            made = batcher_of(runtime, lanes, None, CostModel(CHEAP), at_once_s=AT_ONCE_S)
            await until_idle(lanes)
            for number in range(30):
                runtime.seconds = 0.05 if number == 10 else 0.0
                await ask(made, rows(number))
        assert set(runtime.threads) == {threading.get_ident()}

    run(main())


@pytest.mark.parametrize("deadline_s", [None, 5.0])
def test_who_is_alone_is_answered_without_a_turn_of_the_loop(deadline_s: float | None) -> None:
    async def main() -> None:
        runtime, recorder = Whereabouts(), Recorder()
        async with lanes_of(2) as lanes:
            made = batcher_of(runtime, lanes, recorder, CostModel(CHEAP), at_once_s=AT_ONCE_S)
            await until_idle(lanes)
            loop = asyncio.get_running_loop()
            turned: list[int] = []
            loop.call_soon(turned.append, 1)
            deadline = None if deadline_s is None else loop.time() + deadline_s
            timings = Timings()
            answer = await made.run({"x": rows(1, 2)}, ["y"], deadline, timings, alone=True)
            assert not turned
            np.testing.assert_array_equal(answer["y"], affine(rows(1, 2)))
            assert timings.compute_s > 0
            assert made.queued_images == 0
            await made.drained(0)
        assert runtime.threads == [threading.get_ident()]
        assert recorder.endings == {"ok": 1}
        assert recorder.rows == [(2, 0)]

    run(main())


def test_who_is_alone_waits_behind_who_is_queued_and_for_a_busy_lane() -> None:
    async def main() -> None:
        runtime = FakeRuntime()
        runtime.gate.clear()
        async with lanes_of(1) as lanes:
            made = batcher_of(runtime, lanes, None, CostModel(CHEAP), at_once_s=AT_ONCE_S, max_batch_size=1)
            first, second = ask(made, rows(*range(2))), ask(made, rows(2))  # more than a batch: for the lanes
            await until(lambda: lanes.busy == 1)
            third = asyncio.create_task(made.run({"x": rows(3)}, ["y"], alone=True))
            await asyncio.sleep(0.01)
            assert not third.done()
            runtime.gate.set()
            await asyncio.gather(first, second, third)
        assert sorted(runtime.executed) == [0, 1, 2, 3]
        assert runtime.executed.index(3) > runtime.executed.index(2)

    run(main())


def test_poison_of_who_is_alone_is_told_and_the_next_one_is_answered() -> None:
    async def main() -> None:
        runtime, recorder = Whereabouts(), Recorder()
        async with lanes_of(1) as lanes:
            made = batcher_of(runtime, lanes, recorder, CostModel(CHEAP), at_once_s=AT_ONCE_S)
            await until_idle(lanes)
            with pytest.raises(RuntimeFailedError, match="poisoned"):
                await made.run({"x": rows(-1)}, ["y"], alone=True)
            answer = await made.run({"x": rows(4)}, ["y"], alone=True)
            np.testing.assert_array_equal(answer["y"], affine(rows(4)))
        assert recorder.endings == {"failed": 1, "ok": 1}
        assert set(runtime.threads) == {threading.get_ident()}

    run(main())


def test_answer_to_who_is_alone_that_comes_too_late_is_none() -> None:
    async def main() -> None:
        runtime, recorder = Whereabouts(0.03), Recorder()
        async with lanes_of(1) as lanes:
            made = batcher_of(runtime, lanes, recorder, CostModel(CHEAP), at_once_s=AT_ONCE_S)
            await until_idle(lanes)
            deadline = asyncio.get_running_loop().time() + 0.01
            with pytest.raises(DeadlineError):
                await made.run({"x": rows(1)}, ["y"], deadline, alone=True)
        assert recorder.endings == {"deadline": 1}

    run(main())


def test_who_is_alone_is_refused_when_the_service_stops() -> None:
    async def main() -> None:
        runtime = Whereabouts()
        async with lanes_of(1) as lanes:
            made = batcher_of(runtime, lanes, None, CostModel(CHEAP), at_once_s=AT_ONCE_S)
            await until_idle(lanes)
            lanes.refuse()
            with pytest.raises(StoppingError):
                await made.run({"x": rows(1)}, ["y"], alone=True)
        assert not runtime.threads

    run(main())


def test_what_all_graphs_lose_of_the_loop_is_bounded_together() -> None:
    made = Allowance()
    lost = now = 0.0
    while now < 100:
        if made.is_left(now):
            made.spend(now, 0.004)
            lost += 0.004
            now += 0.004
        now += 0.001
    assert 0.01 < lost / now < 0.03
    made.spend(now, 3600.0)
    assert made.is_left(now + 60)  # a machine that stood still is forgiven


def test_panic_of_a_runtime_is_told_to_who_is_alone_and_to_the_loop() -> None:
    class Panic(BaseException):
        pass

    def fail(_: Array) -> Array:
        raise Panic("out of its mind")

    async def main() -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        async with lanes_of(1) as lanes:
            made = batcher_of(FakeRuntime(fail), lanes, None, CostModel(CHEAP), at_once_s=AT_ONCE_S)
            await until_idle(lanes)
            with pytest.raises(RuntimeFailedError, match="out of its mind"):
                await made.run({"x": rows(1)}, ["y"], alone=True)
            gc.collect()
        assert [type(context["exception"]) for context in told] == [Panic]

    run(main())
