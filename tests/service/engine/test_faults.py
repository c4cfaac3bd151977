"""Runs that hang and memory that runs out: the callers at fault are told, and the engine goes on."""

import asyncio
import threading
import time
from collections.abc import Callable

import numpy as np
import pytest

from service.engine.batcher import Batcher
from service.engine.invariance import Padding
from service.engine.runtimes.base import Runtime
from service.errors import DeadlineError, ModelUnavailableError, RuntimeFailedError
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

HANG = -13.0
HANG_S = 0.25  # no run that is fine takes so long, even on a machine that is busy


class HangingRuntime(FakeRuntime):
    """Hangs on `HANG` until it is let go; then raises if it was interrupted, and answers if not."""

    def __init__(self, listens: bool) -> None:
        super().__init__(self._hang)
        self.interrupted: list[int] = []
        self.hanging: list[int] = []
        self.let_go = threading.Event()
        self.closed = threading.Event()
        self._listens = listens

    def interrupt(self, thread: int) -> None:
        self.interrupted.append(thread)
        if self._listens:
            self.let_go.set()

    def close(self) -> None:
        self.closed.set()

    def _hang(self, x: Array) -> Array:
        if (x == HANG).any():
            self.hanging.append(threading.get_ident())
            assert self.let_go.wait(PATIENCE_S)
            if self._listens:
                raise RuntimeError("interrupted")
        return affine(x)


async def hang(batcher: Batcher, runtime: HangingRuntime) -> "asyncio.Task[Array]":
    hanging = len(runtime.hanging)
    task = ask(batcher, rows(HANG))
    await until(lambda: len(runtime.hanging) > hanging)
    return task


@pytest.mark.parametrize("listens", [True, False])
def test_run_that_hangs_is_given_up_and_the_rest_is_served_by_a_new_runtime(listens: bool) -> None:
    async def main() -> None:
        old, new, recorder = HangingRuntime(listens), FakeRuntime(), Recorder()
        opening, go_on = threading.Event(), threading.Event()

        def reopen() -> Runtime:
            opening.set()
            assert go_on.wait(PATIENCE_S)
            return new

        async with lanes_of(1) as lanes:
            batcher = batcher_of(old, lanes, recorder, hang_s=HANG_S, reopen=reopen)
            victim = await hang(batcher, old)
            waiting = ask(batcher, rows(1))
            with pytest.raises(RuntimeFailedError, match="hung"):
                await victim
            await until(opening.is_set)
            healthy, reason = batcher.healthy
            assert not healthy
            assert "opened again" in reason
            also_waiting = ask(batcher, rows(2))
            await asyncio.sleep(0.01)
            assert new.executed == []
            go_on.set()
            found = np.concatenate(await asyncio.gather(waiting, also_waiting))
            np.testing.assert_array_equal(found, affine(rows(1, 2)))
            assert batcher.healthy == (True, "")
            assert lanes.alive == 1
            assert old.interrupted == old.hanging
            assert recorder.rebuilds == ["hung"]
            assert recorder.endings == {"ok": 2, "failed": 1}
            assert old.closed.is_set() == listens  # not while a thread is in it
            old.let_go.set()
            await until(old.closed.is_set)
            np.testing.assert_array_equal(await ask(batcher, rows(3)), affine(rows(3)))
            assert recorder.endings == {"ok": 3, "failed": 1}

    run(main())


def test_who_waited_for_a_new_runtime_teaches_no_wait() -> None:
    async def main() -> None:
        old = HangingRuntime(listens=True)
        async with lanes_of(1) as lanes:
            batcher = batcher_of(old, lanes, hang_s=HANG_S, reopen=FakeRuntime)
            victim = await hang(batcher, old)
            waiting = ask(batcher, rows(1), deadline=asyncio.get_running_loop().time() + 2 * PATIENCE_S)
            with pytest.raises(RuntimeFailedError, match="hung"):
                await victim
            await waiting
            assert batcher._admission._margin.seconds == 0

    run(main())


def test_late_answer_of_a_run_that_was_given_up_changes_nothing() -> None:
    """The large request hangs in its second slice; what that brings in the end belongs to nobody."""

    async def main() -> None:
        old, recorder = HangingRuntime(listens=False), Recorder()
        async with lanes_of(2) as lanes:
            batcher = batcher_of(old, lanes, recorder, hang_s=HANG_S, reopen=FakeRuntime, max_batch_size=2)
            with pytest.raises(RuntimeFailedError, match="hung"):
                await ask(batcher, rows(1, 2, HANG, 4, 5, 6))
            await until(lambda: batcher.healthy[0])
            before = recorder.rows.copy()
            old.let_go.set()
            await until(old.closed.is_set)
            assert recorder.rows == before
            np.testing.assert_array_equal(await ask(batcher, rows(7, 8, 9)), affine(rows(7, 8, 9)))
            assert lanes.alive == 2

    run(main())


def test_neighbour_of_a_run_that_hangs_finishes_on_the_old_runtime() -> None:
    async def main() -> None:
        old, new = HangingRuntime(listens=True), FakeRuntime()
        async with lanes_of(2) as lanes:
            batcher = batcher_of(old, lanes, hang_s=HANG_S, reopen=lambda: new, max_batch_size=1)
            victim = await hang(batcher, old)
            old.gate.clear()
            await asyncio.sleep(HANG_S / 2)  # it would hang too if it had begun at once
            neighbour = ask(batcher, rows(1))
            await until(lambda: 1 in old.executed)
            with pytest.raises(RuntimeFailedError):
                await victim
            old.gate.set()
            np.testing.assert_array_equal(await neighbour, affine(rows(1)))
            await until(old.closed.is_set)

    run(main())


def test_other_models_are_served_while_one_hangs() -> None:
    async def main() -> None:
        bad = HangingRuntime(listens=False)
        async with lanes_of(1) as lanes:
            hanging = batcher_of(bad, lanes, hang_s=HANG_S, reopen=FakeRuntime)
            fine = batcher_of(FakeRuntime(), lanes, hang_s=HANG_S)
            victim = await hang(hanging, bad)
            np.testing.assert_array_equal(await ask(fine, rows(1)), affine(rows(1)))
            with pytest.raises(RuntimeFailedError):
                await victim
            bad.let_go.set()

    run(main())


def test_runtime_that_cannot_be_opened_again_refuses_and_says_why() -> None:
    def reopen() -> Runtime:
        raise OSError("the file is gone")

    async def main() -> None:
        old = HangingRuntime(listens=True)
        async with lanes_of(1) as lanes:
            batcher = batcher_of(old, lanes, hang_s=HANG_S, reopen=reopen)
            victim = await hang(batcher, old)
            waiting = ask(batcher, rows(1))
            with pytest.raises(RuntimeFailedError):
                await victim
            with pytest.raises(ModelUnavailableError, match="the file is gone"):
                await waiting
            with pytest.raises(ModelUnavailableError, match="the file is gone"):
                await ask(batcher, rows(2))
            healthy, reason = batcher.healthy
            assert not healthy
            assert "the file is gone" in reason

    run(main())


def test_waiting_request_whose_deadline_passes_during_the_rebuild_is_told() -> None:
    go_on = threading.Event()

    def reopen() -> Runtime:
        assert go_on.wait(PATIENCE_S)
        return FakeRuntime()

    async def main() -> None:
        old = HangingRuntime(listens=True)
        async with lanes_of(1) as lanes:
            batcher = batcher_of(old, lanes, hang_s=HANG_S, reopen=reopen)
            victim = await hang(batcher, old)
            with pytest.raises(RuntimeFailedError):
                await victim
            with pytest.raises(DeadlineError):
                await ask(batcher, rows(1), asyncio.get_running_loop().time() + 0.02)
            go_on.set()
            np.testing.assert_array_equal(await ask(batcher, rows(2)), affine(rows(2)))

    run(main())


def test_run_that_was_expected_to_take_long_does_not_hang() -> None:
    async def main() -> None:
        runtime, recorder = FakeRuntime(), Recorder()
        runtime.gate.clear()
        async with engine(runtime, observer=recorder, hang_s=HANG_S) as batcher:
            batcher.cost.learn(rows=1, seconds=PATIENCE_S)
            task = ask(batcher, rows(1))
            await asyncio.sleep(3 * HANG_S)
            runtime.gate.set()
            np.testing.assert_array_equal(await task, affine(rows(1)))

    run(main())


def test_threads_that_never_come_back_are_not_replaced_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.engine.lanes._MOST_STUCK", 2)

    async def main() -> None:
        runtime = HangingRuntime(listens=False)
        async with lanes_of(1) as lanes:
            batcher = batcher_of(runtime, lanes, hang_s=HANG_S)
            for _ in range(3):
                with pytest.raises(RuntimeFailedError):
                    await (await hang(batcher, runtime))
            assert lanes.alive == 0
            with pytest.raises(ModelUnavailableError):
                await ask(batcher, rows(1))
            runtime.let_go.set()

    run(main())


def test_nothing_is_left_of_a_hang_once_the_thread_is_back() -> None:
    before = set(threading.enumerate())

    async def main() -> None:
        old = HangingRuntime(listens=False)
        async with lanes_of(2) as lanes:
            batcher = batcher_of(old, lanes, hang_s=HANG_S, reopen=FakeRuntime)
            with pytest.raises(RuntimeFailedError):
                await (await hang(batcher, old))
            await until(lambda: batcher.healthy[0])
            old.let_go.set()
            await until(old.closed.is_set)
            batcher.close()

    run(main())
    for thread in {*threading.enumerate()} - before:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def test_closed_batcher_closes_its_runtime_when_the_last_batch_is_back() -> None:
    async def main() -> None:
        runtime = HangingRuntime(listens=False)
        async with lanes_of(1) as lanes:
            batcher = batcher_of(runtime, lanes)
            task = await hang(batcher, runtime)
            batcher.close()
            assert not runtime.closed.is_set()
            runtime.let_go.set()
            np.testing.assert_array_equal(await task, affine(rows(HANG)))
            await until(runtime.closed.is_set)
            with pytest.raises(ModelUnavailableError, match="unloaded"):
                await ask(batcher, rows(1))

    run(main())


def no_room_beyond(limit: int, error: type[Exception] = MemoryError) -> Callable[[Array], Array]:
    def step(x: Array) -> Array:
        if len(x) > limit:
            raise error("no room")
        return affine(x)

    return step


def test_out_of_memory_halves_the_batch_runs_the_same_rows_again_and_goes_on() -> None:
    async def main() -> None:
        runtime, recorder = FakeRuntime(no_room_beyond(3)), Recorder()
        async with engine(runtime, observer=recorder, max_batch_size=16) as batcher:
            answer = await ask(batcher, rows(*range(16)))
            np.testing.assert_array_equal(answer, affine(rows(*range(16))))
            assert recorder.sizes == [2]
            assert batcher.limits.max_batch_size == 2
            runtime.batches.clear()
            np.testing.assert_array_equal(await ask(batcher, rows(*range(6))), affine(rows(*range(6))))
            assert [len(batch) for batch in runtime.batches] == [2, 2, 2]
        assert recorder.endings == {"ok": 2}

    run(main())


def test_out_of_memory_in_a_batch_of_many_callers_fails_none_of_them() -> None:
    async def main() -> None:
        runtime, recorder = FakeRuntime(no_room_beyond(4)), Recorder()
        runtime.gate.clear()
        async with engine(runtime, observer=recorder, max_batch_size=16) as batcher:
            first = ask(batcher, rows(0))
            await until(lambda: len(runtime.batches) == 1)
            sizes = [3, 1, 5, 2, 4]
            tasks = [ask(batcher, rows(*[number] * size)) for number, size in enumerate(sizes, 1)]
            await asyncio.sleep(0)
            runtime.gate.set()
            found = await asyncio.gather(first, *tasks)
        for number, answer in enumerate(found[1:], 1):
            np.testing.assert_array_equal(answer, affine(rows(*[number] * sizes[number - 1])))
        assert recorder.endings == {"ok": 6}

    run(main())


@pytest.mark.parametrize("padding", [Padding(4), Padding(4, 4)])
def test_batches_never_shrink_below_what_the_padding_asks_for(padding: Padding) -> None:
    async def main() -> None:
        runtime, recorder = FakeRuntime(no_room_beyond(5)), Recorder()
        async with engine(runtime, observer=recorder, max_batch_size=16, padding=padding) as batcher:
            np.testing.assert_array_equal(await ask(batcher, rows(*range(16))), affine(rows(*range(16))))
            assert batcher.limits.max_batch_size == 4
        assert recorder.sizes == [4]

    run(main())


def test_one_input_that_fits_in_no_memory_fails_alone_and_shrinks_nothing() -> None:
    huge = -5.0

    def step(x: Array) -> Array:
        if (x == huge).any():
            raise MemoryError("no room")
        return affine(x)

    async def main() -> None:
        runtime, recorder = FakeRuntime(step), Recorder()
        runtime.gate.clear()
        async with engine(runtime, observer=recorder) as batcher:
            first = ask(batcher, rows(0))
            await until(lambda: len(runtime.batches) == 1)
            tasks = [ask(batcher, rows(value)) for value in (1, 2, huge, 3)]
            await asyncio.sleep(0)
            runtime.gate.set()
            found = await asyncio.gather(first, *tasks, return_exceptions=True)
            assert isinstance(found[3], RuntimeFailedError)
            assert batcher.limits.max_batch_size == 8
        assert recorder.sizes == []
        assert recorder.endings == {"ok": 4, "failed": 1}

    run(main())


def test_error_that_has_nothing_to_do_with_memory_shrinks_nothing() -> None:
    async def main() -> None:
        recorder = Recorder()
        async with engine(FakeRuntime(no_room_beyond(3, ValueError)), observer=recorder) as batcher:
            with pytest.raises(RuntimeFailedError):
                await ask(batcher, rows(*range(8)))
        assert recorder.sizes == []

    run(main())


def test_watching_costs_nothing_once_all_is_answered() -> None:
    async def main() -> None:
        async with engine(FakeRuntime(), hang_s=0.001) as batcher:
            await ask(batcher, rows(1))
            await asyncio.sleep(0.05)
            cpu, wall = time.process_time(), time.monotonic()
            await asyncio.sleep(0.3)
            share = (time.process_time() - cpu) / (time.monotonic() - wall)
        assert share < 0.05

    run(main())


def test_lane_in_which_a_retired_model_hangs_is_replaced_all_the_same() -> None:
    async def main() -> None:
        old = HangingRuntime(listens=False)
        async with lanes_of(1) as lanes:
            retired, other = batcher_of(old, lanes, hang_s=HANG_S), batcher_of(FakeRuntime(), lanes)
            victim = await hang(retired, old)
            victim.cancel()
            retired.retire()
            retired.close()
            np.testing.assert_array_equal(await ask(other, rows(1)), affine(rows(1)))
            old.let_go.set()
            await until(old.closed.is_set)

    run(main())


def test_answer_that_cannot_be_put_together_fails_alone_and_the_lane_lives_on() -> None:
    widths = iter([1, 2, 1, 1])

    def step(x: Array) -> Array:
        return np.repeat(affine(x), next(widths), axis=1)

    async def main() -> None:
        async with lanes_of(1) as lanes:
            batcher = batcher_of(FakeRuntime(step), lanes, max_batch_size=2)
            with pytest.raises(RuntimeFailedError):
                await ask(batcher, rows(1, 2, 3, 4))
            np.testing.assert_array_equal(await ask(batcher, rows(5)), affine(rows(5)))
            assert lanes.alive == 1

    run(main())


def test_request_that_was_admitted_is_refused_if_the_runtime_breaks_before_it_runs() -> None:
    async def main() -> None:
        old = HangingRuntime(listens=True)

        def reopen() -> Runtime:
            raise OSError("gone")

        async with lanes_of(1) as lanes:
            batcher = batcher_of(old, lanes, hang_s=HANG_S, reopen=reopen)
            victim = await hang(batcher, old)
            batcher.admit(1)
            with pytest.raises(RuntimeFailedError):
                await victim
            await until(lambda: "could not be opened" in batcher.healthy[1])
            with pytest.raises(ModelUnavailableError):
                await ask(batcher, rows(1))

    run(main())
