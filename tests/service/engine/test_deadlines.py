"""Deadlines are kept with one timer, in any order, and nothing of an answered request stays."""

import asyncio
import gc
import time
import weakref

import numpy as np

from service.engine.deadlines import Deadlines
from service.engine.jobs import Job
from tests.service.engine.fakes import FakeRuntime, ask, engine, rows, run, until


def job(allowed_s: float) -> Job:
    now = time.monotonic()
    return Job({"x": np.zeros((1, 1))}, ["y"], now, now + allowed_s, asyncio.get_running_loop().create_future())


def test_each_job_expires_when_its_time_has_come_whatever_the_order_of_arrival() -> None:
    async def main() -> None:
        expired: list[Job] = []
        deadlines = Deadlines(asyncio.get_running_loop(), expired.append)
        jobs = [job(allowed) for allowed in (0.03, 0.01, 0.05, 0.02)]
        numbers = [deadlines.add(one) for one in jobs]
        deadlines.remove(numbers[3])
        await until(lambda: len(expired) == 3)
        assert expired == [jobs[1], jobs[0], jobs[2]]
        assert all(time.monotonic() >= (one.deadline or 0) for one in expired)

    run(main())


def test_jobs_that_were_answered_leave_nothing_behind() -> None:
    async def main() -> None:
        deadlines = Deadlines(asyncio.get_running_loop(), lambda _: None)
        for _ in range(1000):
            deadlines.remove(deadlines.add(job(1000.0)))
        assert len(deadlines._heap) < 100
        assert not deadlines._open

    run(main())


def test_images_of_an_answered_request_are_given_back_long_before_its_deadline() -> None:
    async def main() -> None:
        async with engine(FakeRuntime()) as batcher:
            answer = await ask(batcher, rows(1), asyncio.get_running_loop().time() + 1000)
            alive = weakref.ref(answer if answer.base is None else answer.base)
            del answer
            gc.collect()
            await until(lambda: alive() is None)

    run(main())
