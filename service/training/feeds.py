"""The events of jobs as they come in, read once for all who watch a job in this process."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Sequence

import structlog

from jobs.model import FINAL, Event
from service.errors import DatabaseUnavailableError
from service.training.desk import Desk

PAGE = 200  # events read at once
_KEPT = 1000  # events of a job that late watchers need not read from the database
_SHORTEST_S, _LONGEST_S = 0.2, 1.0  # between two looks: short while something happens

_log = structlog.get_logger("service.training")


class Feed:
    """One job's, while somebody watches it.

    Attributes:
        watchers: How many there are.
        over: The job has ended and all its events are known.
        news: Set by the next look that brings something; each look has one of its own.
        since: All events beyond this one that are known are kept.
    """

    def __init__(self, desk: Desk, job: str, after: int) -> None:
        self.watchers = 0
        self.over = False
        self.news = asyncio.Event()
        self.since = after
        self._desk = desk
        self._job = job
        self._last = after
        self._kept: deque[Event] = deque()
        self._final_seen = False
        self._poller = asyncio.create_task(self._poll())

    def beyond(self, after: int) -> Sequence[Event] | None:
        """Events after this one that are known; None if they have to be read from the database."""
        if after < self.since:
            return None
        return [event for event in self._kept if event.id > after][:PAGE]

    def tell(self) -> None:
        """Wake all who wait."""
        self.news.set()
        self.news = asyncio.Event()

    def close(self) -> None:
        """Stop looking."""
        self._poller.cancel()

    async def _poll(self) -> None:
        pause_s = _SHORTEST_S
        try:
            while not self.over:
                found = await self._look()
                self._note(found)
                if found is None or len(found) < PAGE:
                    await asyncio.sleep(pause_s)
                pause_s = _SHORTEST_S if found else min(_LONGEST_S, 1.5 * pause_s)
        except Exception:
            _log.exception("events cannot be read", job=self._job)
            self.over = True  # watchers come again, and are told
            self.tell()

    async def _look(self) -> Sequence[Event] | None:
        """What is new; None if the database does not answer, which is no end: watchers stay and wait."""
        try:
            return await self._desk.ask(lambda ledger: ledger.events(self._job, after=self._last, limit=PAGE))
        except DatabaseUnavailableError:
            return None

    def _note(self, found: Sequence[Event] | None) -> None:
        for event in found or ():
            self._kept.append(event)
            self._last = event.id
            if event.kind == "state":  # a job that is resumed goes on behind its end
                self._final_seen = event.data.get("state") in FINAL
        while len(self._kept) > _KEPT:
            self.since = self._kept.popleft().id
        self.over = self._final_seen and found is not None and not found
        if found or self.over:
            self.tell()


class Feeds:
    """All feeds of this process. One poller per job, however many watch it; none where nobody does."""

    def __init__(self, desk: Desk) -> None:
        self.closed = asyncio.Event()
        self._desk = desk
        self._feeds: dict[str, Feed] = {}

    def __len__(self) -> int:
        return len(self._feeds)

    async def follow(self, job: str, after: int, heartbeat_s: float) -> AsyncGenerator[Sequence[Event], None]:
        """Events after one of a job, in order, each once, until the job has ended or the feeds are closed.

        Args:
            job: Its id; it has to exist.
            after: Id of the last event that is known already; 0 for all.
            heartbeat_s: An empty sequence comes when there was nothing for so long.
        """
        feed = self._enter(job, after)
        try:
            while not self.closed.is_set():
                found = feed.beyond(after)
                if found is None:
                    complete_to = feed.since
                    found = await self._read(job, after)
                    if not found:  # what was there has been thinned out, or the database is away
                        after = after if found is None else complete_to
                        yield ()
                        continue
                if found:
                    after = found[-1].id
                    yield found
                elif feed.over:
                    return
                elif not await _is_set(feed.news, heartbeat_s):
                    yield ()
        finally:
            self._leave(job, feed)

    def close(self) -> None:
        """End all streams, now and for ever."""
        self.closed.set()
        for feed in self._feeds.values():
            feed.tell()

    def _enter(self, job: str, after: int) -> Feed:
        feed = self._feeds.get(job)
        if feed is None or feed.over:
            feed = self._feeds[job] = Feed(self._desk, job, after)
        feed.watchers += 1
        return feed

    def _leave(self, job: str, feed: Feed) -> None:
        feed.watchers -= 1
        if not feed.watchers:
            feed.close()
            if self._feeds.get(job) is feed:
                del self._feeds[job]

    async def _read(self, job: str, after: int) -> Sequence[Event] | None:
        try:
            return await self._desk.ask(lambda ledger: ledger.events(job, after=after, limit=PAGE))
        except DatabaseUnavailableError:
            await asyncio.sleep(_LONGEST_S)
            return None


async def _is_set(event: asyncio.Event, patience_s: float) -> bool:
    try:
        return await asyncio.wait_for(event.wait(), patience_s)
    except TimeoutError:
        return False
