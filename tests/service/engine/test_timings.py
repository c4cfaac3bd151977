"""A request is told where its time went, and the parts make the whole."""

import asyncio
import time

import numpy as np
import pytest

from service.engine.timings import Timings
from service.errors import DeadlineError
from tests.service.engine.fakes import Array, FakeRuntime, affine, ask, engine, rows, run, until

RUN_S = 0.03


def sleep(x: Array) -> Array:
    time.sleep(RUN_S)
    return affine(x)


def test_queue_compute_and_the_rest_make_the_whole() -> None:
    async def main() -> None:
        async with engine(FakeRuntime(sleep)) as batcher:
            blocker = ask(batcher, rows(0))
            await until(lambda: not batcher.queued_images)
            timings, start = Timings(), time.monotonic()
            await batcher.run({"x": rows(1)}, ["y"], timings=timings)
            whole = time.monotonic() - start
            await blocker
        assert timings.compute_s >= RUN_S
        assert 0 < timings.queue_s < whole - RUN_S
        assert timings.batch_s > 0
        assert timings.queue_s + timings.batch_s + timings.compute_s == pytest.approx(whole, abs=RUN_S / 3)

    run(main())


def test_slices_add_up_and_so_do_several_graphs() -> None:
    async def main() -> None:
        timings = Timings(compute_s=1.0)
        async with engine(FakeRuntime(sleep), max_batch_size=1) as batcher:
            await batcher.run({"x": rows(1, 2, 3)}, ["y"], timings=timings)
        assert timings.compute_s >= 1.0 + 3 * RUN_S

    run(main())


def test_request_that_never_ran_spent_its_time_in_the_queue() -> None:
    async def main() -> None:
        runtime, timings = FakeRuntime(), Timings()
        runtime.gate.clear()
        async with engine(runtime) as batcher:
            blocker = ask(batcher, rows(0))
            await until(lambda: len(runtime.batches) == 1)
            with pytest.raises(DeadlineError):
                await batcher.run({"x": rows(1)}, ["y"], asyncio.get_running_loop().time() + RUN_S, timings)
            runtime.gate.set()
            np.testing.assert_array_equal(await blocker, affine(rows(0)))
        assert timings.queue_s >= RUN_S / 2
        assert timings.batch_s == timings.compute_s == 0

    run(main())
