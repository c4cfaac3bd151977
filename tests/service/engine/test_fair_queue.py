"""Who goes next."""

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from service.engine.fair_queue import FairQueue
from service.engine.jobs import Job


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


def job(loop: asyncio.AbstractEventLoop, rows: int, width: int = 1, deadline: float | None = None) -> Job:
    return Job({"x": np.zeros((rows, width))}, ["y"], 0.0, deadline, loop.create_future())


def test_large_job_fills_one_batch_and_goes_behind_the_others(loop: asyncio.AbstractEventLoop) -> None:
    queue, large, small = FairQueue(), job(loop, 20), job(loop, 1)
    queue.push(large)
    queue.push(small)
    batches = [queue.take(8, now=0.0)[0] for _ in range(3)]
    assert batches == [[(large, 0, 8)], [(small, 0, 1), (large, 8, 15)], [(large, 15, 20)]]
    assert queue.images == 0
    assert queue.jobs == 0


def test_jobs_that_cannot_share_a_batch_take_turns(loop: asyncio.AbstractEventLoop) -> None:
    queue = FairQueue()
    narrow, wide, late_narrow = job(loop, 16, 1), job(loop, 4, 2), job(loop, 1, 1)
    for one in (narrow, wide, late_narrow):
        queue.push(one)
    batches = [queue.take(8, now=0.0)[0] for _ in range(3)]
    assert batches == [[(narrow, 0, 8)], [(wide, 0, 4)], [(late_narrow, 0, 1), (narrow, 8, 15)]]


def test_late_jobs_are_dropped_and_leave_their_place_to_others(loop: asyncio.AbstractEventLoop) -> None:
    queue = FairQueue()
    late, fine = job(loop, 5, deadline=1.0), job(loop, 5, deadline=3.0)
    queue.push(late)
    queue.push(fine)
    slices, dropped = queue.take(8, now=2.0)
    assert slices == [(fine, 0, 5)]
    assert dropped == [late]
    assert queue.images == 0


@pytest.mark.parametrize(("others", "dropped"), [(8, True), (7, False)])
def test_job_that_would_be_late_gives_its_place_away_only_if_others_fill_the_batch(
    others: int, dropped: bool, loop: asyncio.AbstractEventLoop
) -> None:
    queue = FairQueue()
    tight, fine = job(loop, 3, deadline=2.5), job(loop, others, deadline=9.0)
    queue.push(tight)
    queue.push(fine)
    slices, late = queue.take(8, now=2.0, back_by=3.0)
    assert slices == ([(fine, 0, 8)] if dropped else [(fine, 0, 7), (tight, 0, 1)])
    assert late == ([tight] if dropped else [])
    assert queue.images == (0 if dropped else 2)
    assert queue.jobs == (0 if dropped else 1)


def test_job_that_would_be_late_gives_way_to_nobody_who_would_be_late_too(loop: asyncio.AbstractEventLoop) -> None:
    queue = FairQueue()
    tight, tighter, passed = (job(loop, 4, deadline=deadline) for deadline in (2.9, 2.1, 1.9))
    foreign = job(loop, 8, width=2)
    for one in (tight, tighter, passed, foreign):
        queue.push(one)
    assert queue.take(8, now=2.0, back_by=3.0) == ([(tight, 0, 4), (tighter, 0, 4)], [passed])
    assert queue.take(8, now=2.0, back_by=3.0) == ([(foreign, 0, 8)], [])


def test_job_that_has_mostly_run_is_finished(loop: asyncio.AbstractEventLoop) -> None:
    queue = FairQueue()
    large, fine = job(loop, 14, deadline=2.5), job(loop, 8, deadline=9.0)
    queue.push(large)
    assert queue.take(8, now=1.0, back_by=2.0) == ([(large, 0, 8)], [])
    queue.push(fine)
    assert queue.take(8, now=2.0, back_by=3.0) == ([(large, 8, 14), (fine, 0, 2)], [])


def test_discarded_job_frees_its_rows_even_when_half_of_it_ran(loop: asyncio.AbstractEventLoop) -> None:
    queue, large = FairQueue(), job(loop, 20)
    queue.push(large)
    queue.take(8, now=0.0)
    queue.discard(large)
    queue.discard(large)
    assert queue.images == 0
    assert queue.take(8, now=0.0) == ([], [])
