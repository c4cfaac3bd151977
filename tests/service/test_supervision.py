"""Work ends with its client's patience, and not otherwise."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.requests import ClientDisconnect, Request

from service.errors import DeadlineError
from service.supervision import Supervision
from tests.service.engine.fakes import run

SCOPE = {"type": "http"}  # of a server that does not tell when a client leaves


@contextlib.asynccontextmanager
async def supervised(receive: Any, deadline: float | None) -> AsyncIterator[None]:
    with Supervision(Request(SCOPE, receive), deadline) as supervision:
        supervision.body_was_read()
        yield


async def never() -> Any:
    await asyncio.Event().wait()


async def leaves() -> Any:
    await asyncio.sleep(0.01)
    return {"type": "http.disconnect"}


def test_work_is_cancelled_when_the_client_leaves() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def work() -> None:
            try:
                await never()
            finally:
                ended.set()

        with pytest.raises(ClientDisconnect):
            async with supervised(leaves, None):
                await work()
        assert ended.is_set()

    run(main())


def test_late_parts_of_a_body_are_no_leaving() -> None:
    messages = iter([{"type": "http.request"}, {"type": "http.request"}])

    async def receive() -> Any:
        found = next(messages, None)
        return found if found is not None else await never()

    async def main() -> None:
        async with supervised(receive, None):
            await asyncio.sleep(0.05)

    run(main())


@pytest.mark.parametrize("ahead_s", [0.02, 0.0, -1.0])
def test_work_is_cancelled_when_its_deadline_passes(ahead_s: float) -> None:
    async def main() -> None:
        with pytest.raises(DeadlineError):
            async with supervised(never, asyncio.get_running_loop().time() + ahead_s):
                await never()

    run(main())


def test_work_that_is_done_in_time_leaves_no_timer_and_no_task() -> None:
    async def main() -> None:
        before = asyncio.all_tasks()
        async with supervised(never, asyncio.get_running_loop().time() + 0.05):
            await asyncio.sleep(0.02)  # the look-out has begun
        await asyncio.sleep(0.1)  # the deadline passes, when nobody minds any more
        assert asyncio.all_tasks() == before

    run(main())


def test_cancellation_from_outside_stays_one() -> None:
    async def main() -> None:
        async def work() -> None:
            async with supervised(never, asyncio.get_running_loop().time() + 60):
                await never()

        task = asyncio.create_task(work())
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(main())


def test_error_of_the_work_itself_gets_out() -> None:
    async def main() -> None:
        with pytest.raises(KeyError):
            async with supervised(never, asyncio.get_running_loop().time() + 60):
                raise KeyError("its own")

    run(main())


def test_client_that_stops_in_the_middle_of_its_body_meets_its_deadline() -> None:
    async def main() -> None:
        deadline = asyncio.get_running_loop().time() + 0.02
        with pytest.raises(DeadlineError), Supervision(Request(SCOPE, never), deadline):
            await never()  # as reading the body does

    run(main())
