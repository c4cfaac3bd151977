"""Lanes of several processes leave each other the cores that there are, and never stop for each other."""

import asyncio
import threading

import numpy as np
import pytest

from service.cores import usable_cores
from service.engine import lanes as lanes_module
from service.engine.cost import CostModel
from service.engine.devices import Device
from service.engine.lanes import Lanes
from service.engine.plan import lane_count, lanes_at_once, shared_cores
from service.errors import RuntimeFailedError
from service.settings import Settings
from service.team.board import Board
from service.team.team import Team
from tests.service.engine.fakes import Array, FakeRuntime, affine, ask, batcher_of, rows, run, until


class Others:
    """Neighbours of whom a test says how busy they are."""

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        self.told: list[int] = []

    def tell_busy(self, lanes: int) -> None:
        self.told.append(lanes)

    def busy(self) -> int:
        return self.lanes


@pytest.mark.parametrize(("others", "at_once"), [(0, 2), (1, 1), (2, 1), (99, 1)])
def test_as_many_lanes_run_as_others_leave_cores_and_at_least_one(others: int, at_once: int) -> None:
    async def main() -> None:
        runtime, neighbours = FakeRuntime(), Others(others)
        runtime.gate.clear()
        lanes = Lanes(3, 2, neighbours)
        batcher = batcher_of(runtime, lanes, None, CostModel([(1, 0.01)]), max_batch_size=1)
        asked = [ask(batcher, rows(i)) for i in range(6)]
        await until(lambda: len(runtime.batches) == at_once)
        await asyncio.sleep(0.05)
        assert len(runtime.batches) == lanes.busy == at_once
        runtime.gate.set()
        for i, answer in enumerate(await asyncio.gather(*asked)):
            np.testing.assert_array_equal(answer, affine(rows(i)))
        await until(lambda: lanes.idle == 3)
        assert max(neighbours.told) <= max(at_once, 2)
        assert neighbours.told[-1] == 0
        await lanes.close()

    run(main())


def test_core_that_becomes_free_is_taken_with_the_next_batch() -> None:
    async def main() -> None:
        neighbours = Others(1)
        runtime = FakeRuntime()
        runtime.gate.clear()
        lanes = Lanes(2, 2, neighbours)
        batcher = batcher_of(runtime, lanes, None, CostModel([(1, 0.01)]), max_batch_size=1)
        asked = [ask(batcher, rows(i)) for i in range(4)]
        await until(lambda: len(runtime.batches) == 1)
        neighbours.lanes = 0
        runtime.gate.set()
        runtime.gate.clear()
        await until(lambda: lanes.busy == 2)
        runtime.gate.set()
        await asyncio.gather(*asked)
        await lanes.close()

    run(main())


def test_short_runs_are_nobody_elses_business() -> None:
    async def main() -> None:
        runtime, neighbours = FakeRuntime(), Others(0)
        runtime.gate.clear()
        lanes = Lanes(2, 2, neighbours)
        batcher = batcher_of(runtime, lanes, None, CostModel([(1, 0.001)]), max_batch_size=1)
        asked = [ask(batcher, rows(i)) for i in range(2)]
        await until(lambda: lanes.busy == 2)
        runtime.gate.set()
        await asyncio.gather(*asked)
        await lanes.close()
        assert set(neighbours.told) <= {0}

    run(main())


def test_workers_see_each_others_lanes_until_one_has_ended() -> None:
    board = Board(3)
    teams = [Team(board, place) for place in range(3)]
    teams[0].tell_busy(2)
    teams[1].tell_busy(1)
    assert [team.busy() for team in teams] == [1, 2, 3]
    board.clear(0)  # as the parent does for a worker that was killed
    assert [team.busy() for team in teams] == [1, 0, 1]
    assert board.read(1) is None  # it is no part of a note


@pytest.mark.parametrize(
    ("settings", "device", "shared"),
    [
        (Settings(workers=2), "cpu", True),
        (Settings(workers=1), "cpu", False),
        (Settings(workers=2, lanes=2), "cpu", False),
        (Settings(workers=2), "cuda", False),
    ],
)
def test_cores_are_shared_by_workers_on_a_cpu_unless_lanes_are_set(
    settings: Settings, device: str, shared: bool
) -> None:
    where = Device(device)  # type: ignore[arg-type]
    assert (shared_cores(settings, where) is not None) is shared
    workers = settings.workers or 1
    expected = max(1, usable_cores()) / workers if shared else lane_count(settings, where)
    assert lanes_at_once(settings, where) == expected


def test_core_that_becomes_free_during_a_long_batch_is_noticed() -> None:
    async def main() -> None:
        neighbours = Others(1)
        long, short = FakeRuntime(), FakeRuntime()
        long.gate.clear()
        lanes = Lanes(2, 2, neighbours)
        await until(lambda: lanes.idle == 2)
        slow = batcher_of(long, lanes, None, CostModel([(1, 0.01)]))
        quick = batcher_of(short, lanes)
        held = ask(slow, rows(0))
        await until(lambda: lanes.busy == 1)
        task = ask(quick, rows(1))
        await asyncio.sleep(0.1)
        assert not short.batches
        neighbours.lanes = 0
        await task
        await until(lambda: lanes.busy == 1)  # the answer may be here before its lane has turned to something else
        long.gate.set()
        await held
        await lanes.close()

    run(main())


def test_lane_that_hangs_is_in_nobodys_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes_module, "_OVERDUE_S", 0.1)

    async def main() -> None:
        stuck, other = FakeRuntime(), FakeRuntime()
        stuck.gate.clear()
        lanes = Lanes(2, 2, Others(1))
        hanging = batcher_of(stuck, lanes, None, CostModel([(1, 0.01)]))
        held = ask(hanging, rows(0))
        await until(lambda: lanes.busy == 1)
        await ask(batcher_of(other, lanes), rows(1))
        await until(lambda: lanes.busy == 1)
        stuck.gate.set()
        await held
        await lanes.close()

    run(main())


def test_lane_that_dies_leaves_what_waits_to_one_that_sleeps() -> None:
    def die(x: Array) -> Array:
        if (x < 0).any():
            raise SystemExit
        return affine(x)

    async def main() -> None:
        runtime = FakeRuntime(die)
        runtime.gate.clear()
        lanes = Lanes(2, 2, Others(1))
        batcher = batcher_of(runtime, lanes, None, CostModel([(1, 0.01)]), max_batch_size=1)
        dying = ask(batcher, rows(-1))
        await until(lambda: lanes.busy == 1)
        waiting = [ask(batcher, rows(i)) for i in range(3)]
        await asyncio.sleep(0.01)
        runtime.gate.set()
        with pytest.raises(RuntimeFailedError):
            await dying
        await asyncio.gather(*waiting)
        await lanes.close()

    threading.excepthook, before = lambda _: None, threading.excepthook
    try:
        run(main())
    finally:
        threading.excepthook = before


def test_wait_is_foreseen_with_the_lanes_that_may_run() -> None:
    async def main() -> None:
        runtime, neighbours = FakeRuntime(), Others(0)
        runtime.gate.clear()
        lanes = Lanes(2, 2, neighbours)
        batcher = batcher_of(runtime, lanes, None, CostModel([(1, 1.0)]), max_batch_size=1)
        first = ask(batcher, rows(0))
        await until(lambda: lanes.busy == 1)
        with lanes.lock:
            assert lanes.wait_s(batcher, 0.0) == 0.0
            neighbours.lanes = 1
            assert lanes.wait_s(batcher, 0.0) == pytest.approx(1.0, abs=0.2)
            neighbours.lanes = 0
        second = ask(batcher, rows(1))
        await until(lambda: lanes.busy == 2)
        neighbours.lanes = 1
        with lanes.lock:
            assert lanes.wait_s(batcher, 0.5) == pytest.approx(1.5, abs=0.3)
        runtime.gate.set()
        await asyncio.gather(first, second)
        await lanes.close()

    run(main())
