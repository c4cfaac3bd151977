"""The pool that compresses: what waits in it is foreseen, and what cannot be in time is refused before it is drawn."""

import asyncio
import threading
import time
from pathlib import Path

import pytest

from service.workers import SMALL, Workers
from tests.service.support import serving

LARGE = SMALL + 1


def test_small_work_is_done_at_once_on_the_thread_that_asks() -> None:
    async def go() -> int:
        return await workers.run(SMALL, threading.get_ident)

    workers = Workers(1)
    assert asyncio.run(go()) == threading.get_ident()
    assert workers.expected_s(SMALL, "png") == 0
    workers.close()


def test_what_work_takes_is_learnt_by_kind_and_foreseen_by_size() -> None:
    async def go() -> None:
        await workers.run(LARGE, lambda: time.sleep(0.02), "slow")
        await workers.run(LARGE, lambda: None, "fast")

    workers = Workers(1)
    asyncio.run(go())
    assert workers.expected_s(LARGE, "slow") >= 0.02
    assert workers.expected_s(2 * LARGE, "slow") == pytest.approx(2 * workers.expected_s(LARGE, "slow"))
    assert workers.expected_s(LARGE, "fast") < workers.expected_s(LARGE, "slow")
    assert workers.expected_s(LARGE, "unknown") == 0
    workers.close()


def test_the_wait_is_that_of_all_that_is_not_done_and_those_who_leave_take_theirs_along() -> None:
    async def go() -> None:
        await workers.run(LARGE, lambda: time.sleep(0.01), "slow")
        one = workers.expected_s(LARGE, "slow")
        hold = threading.Event()
        tasks = [asyncio.create_task(workers.run(LARGE, hold.wait, "slow")) for _ in range(4)]
        await asyncio.sleep(0)
        assert workers.wait_s == pytest.approx(4 * one / 2)
        tasks[3].cancel()
        await asyncio.wait((tasks[3],))
        assert workers.wait_s == pytest.approx(3 * one / 2)
        hold.set()
        await asyncio.gather(*tasks[:3])
        assert workers.wait_s == pytest.approx(0, abs=1e-12)

    workers = Workers(2)
    asyncio.run(go())
    workers.close()


def test_images_that_could_not_be_compressed_in_time_are_refused_before_the_model_runs(store: Path) -> None:
    body = {"model": "gan", "n": 512, "seed": 1}
    with serving(store) as client:
        assert client.post("/sample", json=body).status_code == 200  # so that the cost is known
        context = client.app.state.context
        catalog = context.opened.result()
        values = 512 * catalog.get("gan").values
        assert context.workers.expected_s(values, "application/json") > 0
        hold = threading.Event()

        async def crowd() -> list["asyncio.Task[bool]"]:
            wanted = 1 + int(5.0 / context.workers.expected_s(values, "application/json"))
            return [
                asyncio.create_task(context.workers.run(values, hold.wait, "application/json")) for _ in range(wanted)
            ]

        async def leave() -> None:
            hold.set()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

        tasks = client.run(crowd())
        client.run(asyncio.sleep(0.05))
        try:
            refused = client.post("/sample", json=body, headers={"x-timeout-ms": "1000"})
            raw = client.post(
                "/sample", json=body, headers={"x-timeout-ms": "1000", "accept": "application/octet-stream"}
            )
        finally:
            client.run(leave())
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert "compress" in refused.json()["detail"]
        assert int(refused.headers["retry-after"]) >= 1
        assert raw.status_code == 200  # nothing of it is compressed
