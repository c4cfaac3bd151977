"""A thread for what takes a while, and what happens when something on it does not come back."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from service.aside import Aside, OverdueError
from tests.service.engine.fakes import PATIENCE_S, run, until

SOON_S = 0.02


@pytest.fixture
def held() -> Iterator[threading.Event]:
    """What hangs waits for it."""
    event = threading.Event()
    yield event
    event.set()


def alive() -> int:
    return sum(thread.name == "test" for thread in threading.enumerate())


def hang(held: threading.Event, result: str = "late") -> str:
    assert held.wait(PATIENCE_S)
    return result


def test_things_are_done_in_their_order_on_one_thread() -> None:
    async def main() -> None:
        aside, done = Aside("test", PATIENCE_S), []

        def note(number: int) -> int:
            done.append((number, threading.current_thread().name))
            return number

        assert await asyncio.gather(*(aside.run(lambda n=n: note(n), n) for n in range(20))) == [*range(20)]
        assert done == [(number, "test") for number in range(20)]
        await aside.close(PATIENCE_S)

    run(main())


def test_what_it_raises_is_raised_and_nothing_is_given_up() -> None:
    async def main() -> None:
        aside = Aside("test", PATIENCE_S)
        with pytest.raises(TimeoutError, match="its own"):
            await aside.run(lambda: (_ for _ in ()).throw(TimeoutError("its own")), "x")
        assert await aside.run(lambda: 1, "x") == 1
        await aside.close(PATIENCE_S)

    run(main())


def test_what_hangs_is_given_up_and_what_waits_behind_it_is_done(held: threading.Event) -> None:
    async def main() -> None:
        aside = Aside("test", SOON_S)
        hangs = asyncio.create_task(aside.run(lambda: hang(held), "x"))
        await asyncio.sleep(0)
        behind = asyncio.create_task(aside.run(lambda: 7))
        with pytest.raises(OverdueError):
            await hangs
        assert await behind == 7
        await aside.close(PATIENCE_S)

    run(main())


def test_what_was_given_up_is_not_begun_again_before_it_has_ended(held: threading.Event) -> None:
    async def main() -> None:
        aside = Aside("test", SOON_S)
        for _ in range(5):
            with pytest.raises(OverdueError):
                await aside.run(lambda: hang(held), "x")
        assert alive() == 2
        assert await aside.run(lambda: 1, "y") == 1
        held.set()
        await until(lambda: alive() == 1)
        assert await aside.run(lambda: 2, "x") == 2
        await aside.close(PATIENCE_S)
        assert alive() == 0

    run(main())


def test_result_that_comes_late_is_discarded_and_one_in_time_is_not(held: threading.Event) -> None:
    async def main() -> None:
        aside, discarded = Aside("test", SOON_S), []
        with pytest.raises(OverdueError):
            await aside.run(lambda: hang(held), "x", discarded.append)
        assert await aside.run(lambda: "in time", "y", discarded.append) == "in time"
        held.set()
        await until(lambda: discarded != [])
        assert discarded == ["late"]
        await aside.close(PATIENCE_S)

    run(main())


def test_what_is_cancelled_before_it_has_begun_never_does(held: threading.Event) -> None:
    async def main() -> None:
        aside, begun = Aside("test", PATIENCE_S), []
        before = asyncio.create_task(aside.run(lambda: hang(held)))
        task = asyncio.create_task(aside.run(lambda: begun.append(1), "x"))
        await asyncio.sleep(SOON_S)
        task.cancel()
        await asyncio.wait((task,))
        assert await aside.run(lambda: 7) == 7
        held.set()
        assert await before == "late"
        await aside.close(PATIENCE_S)
        assert begun == []

    run(main())


def test_error_that_comes_late_is_nobodys(held: threading.Event, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        aside, discarded, complaints = Aside("test", SOON_S), [], []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

        def fail() -> str:
            raise OSError(hang(held))

        with pytest.raises(OverdueError):
            await aside.run(fail, "x", discarded.append)
        held.set()
        await until(lambda: alive() == 1)
        await aside.close(PATIENCE_S)
        assert discarded == complaints == caplog.records == []

    run(main())


def test_what_is_never_given_up_takes_as_long_as_it_takes(held: threading.Event) -> None:
    async def main() -> None:
        aside = Aside("test", SOON_S)
        waits = asyncio.create_task(aside.run(lambda: hang(held)))
        await asyncio.sleep(3 * SOON_S)
        held.set()
        assert await waits == "late"
        await aside.close(PATIENCE_S)

    run(main())


def test_closing_waits_for_what_was_cancelled_but_not_for_ever(held: threading.Event) -> None:
    async def main() -> None:
        aside, discarded = Aside("test", PATIENCE_S), []
        task = asyncio.create_task(aside.run(lambda: hang(held), "x", discarded.append))
        await asyncio.sleep(SOON_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await aside.run(lambda: 1) == 1  # beside it
        await aside.close(SOON_S)
        assert discarded == []
        asyncio.get_running_loop().call_later(SOON_S, held.set)
        await aside.close(PATIENCE_S)
        assert discarded == ["late"]

    run(main())


def test_closing_does_not_wait_for_what_was_given_up(held: threading.Event) -> None:
    async def main() -> None:
        aside = Aside("test", SOON_S)
        with pytest.raises(OverdueError):
            await aside.run(lambda: hang(held), "x")
        await aside.close(PATIENCE_S)
        assert not held.is_set()

    run(main())
