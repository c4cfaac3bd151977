"""Short runs of an idle engine are made on the event loop, and nothing else about them differs."""

import asyncio
import threading
import time

import numpy as np
import pytest

from service.engine import batcher
from service.engine.cost import CostModel
from service.engine.devices import Device
from service.engine.lanes import Lanes
from service.engine.plan import at_once_s
from service.errors import DeadlineError, RuntimeFailedError
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
        self._seconds = seconds

    def _note(self, x: Array) -> Array:
        self.threads.append(threading.get_ident())
        time.sleep(self._seconds)
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
        runtime = Whereabouts(0.005)
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
    monkeypatch.setattr(batcher, "_LANES_ONLY_S", 60.0)

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
