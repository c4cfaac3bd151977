"""The event loop stays awake for a client that asks again at once, for a moment, and for nobody else."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest

from service.wakefulness import Wakefulness
from tests.service.engine.fakes import run


class Counting:
    """Counts the turns that the loop is asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.turns = 0
        loop = asyncio.get_running_loop()
        call_soon = loop.call_soon

        def counted(call: Callable[..., Any], *args: Any, **more: Any) -> asyncio.Handle:
            self.turns += getattr(call, "__name__", "") == "_look"
            return call_soon(call, *args, **more)

        monkeypatch.setattr(loop, "call_soon", counted)


async def exchange(wakefulness: Wakefulness, gap_s: float = 0.0, alone: bool = True) -> None:
    """A request that comes so long after the last answer, and its answer."""
    time.sleep(gap_s)
    wakefulness.asked()
    wakefulness.answered(alone)


@pytest.mark.parametrize(
    ("limit_s", "gap_s", "alone", "awake"),
    [(0.5, 0.0, True, True), (0.05, 0.1, True, False), (0.5, 0.0, False, False), (0.0, 0.0, True, False)],
    ids=["asks again at once", "takes its time", "is not alone", "is not waited for"],
)
def test_the_loop_stays_awake_for_who_asks_again_at_once(
    limit_s: float, gap_s: float, alone: bool, awake: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        wakefulness = Wakefulness(limit_s)
        await exchange(wakefulness)  # of the gap before the first nothing is known
        await asyncio.sleep(0)
        counting = Counting(monkeypatch)
        await exchange(wakefulness, gap_s, alone)
        for _ in range(5):
            await asyncio.sleep(0)
        assert (counting.turns > 0) is awake

    run(main())


def test_it_sleeps_when_the_moment_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        wakefulness, counting = Wakefulness(0.02), Counting(monkeypatch)
        await exchange(wakefulness)
        await exchange(wakefulness)
        while wakefulness._looking:
            await asyncio.sleep(0)
        before = counting.turns
        await asyncio.sleep(0.05)
        assert counting.turns == before > 0

    run(main())


def test_a_request_ends_the_looking_and_others_have_their_turn_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        wakefulness, counting, others = Wakefulness(60.0), Counting(monkeypatch), list[int]()
        await exchange(wakefulness)
        await exchange(wakefulness)
        asyncio.get_running_loop().call_later(0.01, others.append, 1)
        while not others:
            await asyncio.sleep(0)
        wakefulness.asked()
        await asyncio.sleep(0)
        before = counting.turns
        await asyncio.sleep(0.01)
        assert counting.turns == before > 0

    run(main())


def test_many_answers_keep_one_look_going(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        wakefulness, counting = Wakefulness(60.0), Counting(monkeypatch)
        for _ in range(10):
            await exchange(wakefulness)
        before = counting.turns
        await asyncio.sleep(0)
        assert counting.turns == before + 1
        wakefulness.asked()

    run(main())
