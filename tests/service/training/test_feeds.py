"""Feeds: one poller for all who watch a job, heartbeats, and an end for everybody."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

from jobs.database import open_database
from jobs.ledger import Ledger
from jobs.model import Event, NewJob
from service.errors import DatabaseUnavailableError
from service.settings import Settings
from service.training import feeds as feeds_module
from service.training.desk import Desk
from service.training.feeds import Feeds
from tests.service.training.support import SMALL, Runner, sqlite

NEVER_S = 600.0


class CountingDesk(Desk):
    """Counts what is asked, and can be out of order."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.asked = 0
        self.broken = False

    async def ask(self, call: Any) -> Any:
        """See Desk."""
        self.asked += 1
        if self.broken:
            raise DatabaseUnavailableError("away")
        return await super().ask(call)


@pytest.fixture
def desk(tmp_path: Path) -> CountingDesk:
    return CountingDesk(Settings(database=sqlite(tmp_path)))


@pytest.fixture
def job(tmp_path: Path) -> str:
    new, _ = Ledger(open_database(sqlite(tmp_path))).submit(NewJob(recipe=SMALL))
    return new.id


@pytest.fixture
def runner(tmp_path: Path, job: str) -> Runner:
    return Runner(sqlite(tmp_path), job)


def run(work: Coroutine[Any, Any, Any], desk: Desk) -> Any:
    async def whole() -> Any:
        try:
            return await asyncio.wait_for(work, 60)
        finally:
            desk.close()

    return asyncio.run(whole())


async def collect(feeds: Feeds, job: str, after: int = 0, pause_s: float = 0.0) -> list[Event]:
    found: list[Event] = []
    async for events in feeds.follow(job, after, NEVER_S):
        found += events
        await asyncio.sleep(pause_s)
    return found


def test_many_watchers_share_one_poller(desk: CountingDesk, job: str, runner: Runner) -> None:
    async def watch() -> None:
        feeds = Feeds(desk)
        one = asyncio.create_task(collect(feeds, job))
        await asyncio.sleep(0.5)
        alone, begun = desk.asked, asyncio.get_running_loop().time()
        others = [asyncio.create_task(collect(feeds, job)) for _ in range(50)]
        await asyncio.sleep(0)
        assert len(feeds) == 1
        await asyncio.to_thread(runner.log, *range(20))
        await asyncio.to_thread(runner.succeed)
        streams = await asyncio.gather(one, *others)
        looks = (asyncio.get_running_loop().time() - begun) / feeds_module._SHORTEST_S + 4
        assert desk.asked - alone <= looks  # as many as one watcher would have caused
        assert all(stream == streams[0] for stream in streams)
        assert [event.id for event in streams[0]] == [*range(1, len(streams[0]) + 1)]
        assert len(feeds) == 0

    run(watch(), desk)


def test_watchers_from_different_places_get_what_is_theirs(desk: CountingDesk, job: str, runner: Runner) -> None:
    runner.log(*range(10))

    async def watch() -> None:
        feeds = Feeds(desk)
        late = asyncio.create_task(collect(feeds, job, after=9))
        await asyncio.sleep(0.3)
        early = asyncio.create_task(collect(feeds, job, after=2))
        whole = asyncio.create_task(collect(feeds, job))
        runner.succeed()
        last = len(await whole)
        assert [event.id for event in await late] == [*range(10, last + 1)]
        assert [event.id for event in await early] == [*range(3, last + 1)]

    run(watch(), desk)


def test_slow_watcher_loses_nothing_when_the_feed_forgets(
    desk: CountingDesk, job: str, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeds_module, "_KEPT", 4)
    monkeypatch.setattr(feeds_module, "PAGE", 3)
    runner.log(*range(30))
    runner.succeed()

    async def watch() -> None:
        feeds = Feeds(desk)
        quick, slow = await asyncio.gather(collect(feeds, job), collect(feeds, job, pause_s=0.05))
        assert [event.id for event in quick] == [event.id for event in slow] == [*range(1, 35)]

    run(watch(), desk)


def test_heartbeats_come_when_nothing_happens(desk: CountingDesk, job: str) -> None:
    async def watch() -> None:
        stream = Feeds(desk).follow(job, 0, heartbeat_s=0.05)
        assert [event.id for event in await anext(stream)] == [1]
        assert [await anext(stream) for _ in range(3)] == [(), (), ()]
        await stream.aclose()

    run(watch(), desk)


def test_closing_ends_all_streams_and_lets_none_begin(desk: CountingDesk, job: str) -> None:
    async def watch() -> None:
        feeds = Feeds(desk)
        streams = [asyncio.create_task(collect(feeds, job)) for _ in range(3)]
        await asyncio.sleep(0.3)
        feeds.close()
        assert [[event.id for event in await stream] for stream in streams] == [[1], [1], [1]]
        assert await collect(feeds, job) == []
        assert len(feeds) == 0

    run(watch(), desk)


def test_database_that_is_away_for_a_while_ends_no_stream(desk: CountingDesk, job: str, runner: Runner) -> None:
    async def watch() -> None:
        stream = asyncio.create_task(collect(Feeds(desk), job))
        await asyncio.sleep(0.3)
        desk.broken = True
        runner.log(1)
        await asyncio.sleep(0.5)
        assert not stream.done()
        desk.broken = False
        runner.succeed()
        assert [event.kind for event in await stream] == ["state", "state", "log", "result", "state"]

    run(watch(), desk)


def test_nobody_looks_when_nobody_watches(desk: CountingDesk, job: str) -> None:
    async def watch() -> None:
        feeds = Feeds(desk)
        stream: AsyncIterator[Sequence[Event]] = feeds.follow(job, 0, NEVER_S)
        await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        assert len(feeds) == 0
        before = desk.asked
        await asyncio.sleep(0.5)
        assert desk.asked == before

    run(watch(), desk)
