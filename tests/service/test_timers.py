"""A timer that is set again and again rings once, when it was set last for, and asks the loop for few."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from service.timers import LazyTimer
from tests.service.engine.fakes import run


class Counting:
    """A loop that counts the timers that it is asked for."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.asked = 0

    def call_at(self, when: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        self.asked += 1
        return self.loop.call_at(when, call)


def test_thousand_requests_take_one_timer_of_the_loop() -> None:
    async def main() -> None:
        loop: Any = Counting()
        timer, rung = LazyTimer(loop), list[int]()

        def ring() -> None:
            rung.append(1)

        for i in range(1000):
            timer.set(loop.loop.time() + 0.02 + i * 1e-6, ring)
            timer.unset(ring)
        await asyncio.sleep(0.05)
        assert loop.asked == 1
        assert not rung

    run(main())


@pytest.mark.parametrize(("first_s", "then_s"), [(0.02, 0.08), (0.3, 0.08)])
def test_it_rings_once_and_when_it_was_set_last_for(first_s: float, then_s: float) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        timer, rung = LazyTimer(loop), list[float]()

        def ring() -> None:
            rung.append(loop.time())

        begun = loop.time()
        timer.set(begun + first_s, ring)
        timer.set(begun + then_s, ring)
        await asyncio.sleep(0.4)
        assert len(rung) == 1
        assert rung[0] - begun >= then_s - 0.002
        timer.set(loop.time() + 0.01, ring)
        await asyncio.sleep(0.05)
        assert len(rung) == 2

    run(main())


def test_who_takes_back_what_another_has_set_takes_nothing_back() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        timer, rung = LazyTimer(loop), list[str]()

        def old() -> None:
            rung.append("old")

        def new() -> None:
            rung.append("new")

        timer.set(loop.time() + 0.01, old)
        timer.set(loop.time() + 0.01, new)
        timer.unset(old)
        await asyncio.sleep(0.05)
        assert rung == ["new"]

    run(main())


def test_closed_timer_never_rings() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        timer, rung = LazyTimer(loop), list[int]()
        timer.set(loop.time() + 0.01, lambda: rung.append(1))
        timer.close()
        timer.set(loop.time() + 0.01, lambda: rung.append(2))  # by who has not heard of it yet
        await asyncio.sleep(0.03)
        assert not rung

    run(main())
