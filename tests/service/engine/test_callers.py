"""What the answers teach."""

import asyncio
import time

import numpy as np
import pytest

from service.engine.callers import Callers
from service.engine.jobs import Job
from tests.service.engine.fakes import run


@pytest.mark.parametrize("ending", ["answered", "dropped"])
def test_one_answer_however_late_teaches_a_second_at_most(ending: str) -> None:
    taught: list[float] = []

    async def main() -> None:
        loop, now = asyncio.get_running_loop(), time.monotonic()
        callers = Callers("fake", loop, lambda _, seconds: taught.append(seconds))
        x = np.zeros((1, 1))
        job = Job({"x": x}, ["y"], now - 60, now + 60, loop.create_future())
        callers.add(job)
        if ending == "answered":
            callers.settle([(job, {"y": x})])
            assert await job.future == {"y": x}
        else:
            callers.drop([job], now + 1)
            callers.drop([job], now + 1)  # told once is enough
            await asyncio.wait([job.future])
            await asyncio.sleep(0)
            assert "could not be there before the deadline" in str(job.future.exception())
        callers.remove(job)
        callers.close()

    run(main())
    assert taught == [1.0]
