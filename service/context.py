"""What an application holds while it lives."""

import asyncio
import contextlib
from dataclasses import dataclass, field

from service.access import AccessLog
from service.catalog import Catalog
from service.delivery.notices import Notices
from service.errors import NotReadyError, ServiceError, StoppingError
from service.metrics import EngineState, GraphState, Metrics
from service.settings import Settings
from service.team.team import State, Team
from service.training.desk import Desk
from service.training.feeds import Feeds
from service.workers import Workers

_RETRY_S = 1.0


@dataclass
class Context:
    """One per application; nothing of it is global.

    Attributes:
        opened: Opens the catalog, in the background, so that /health/live answers meanwhile. It fails with StartupError
            if the settings cannot be served.
        begun: `opened` has begun.
        leaving: The service is about to shut down and not ready any more; requests are still answered.
        draining: The service is shutting down; requests under way are finished.
        team: The worker processes of the service, of which this is one.
        desk: The way to the training jobs.
        feeds: Events of jobs that somebody watches.
        notices: News of what is published.
    """

    settings: Settings
    workers: Workers
    access: AccessLog
    metrics: Metrics = field(default_factory=Metrics)
    opened: asyncio.Task[Catalog] | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: bool = False
    draining: bool = False
    team: Team = field(default_factory=Team.of_one)
    desk: Desk = field(init=False)
    feeds: Feeds = field(init=False)
    notices: Notices = field(init=False)

    def __post_init__(self) -> None:
        self.desk = Desk(self.settings)
        self.feeds = Feeds(self.desk)
        self.notices = Notices(self.settings, self.look_again)

    def drain(self) -> None:
        """Take no new work from now on. Event streams have no end of their own, so this is theirs."""
        self.draining = True
        self.feeds.close()

    @property
    def max_body(self) -> int:
        """Bytes of a body."""
        return int(self.settings.max_body_mb * 1e6)

    def catalog(self) -> Catalog:
        """The models.

        Raises:
            NotReadyError: If they are being loaded, or cannot be.
            StoppingError: If the service is shutting down.
        """
        if self.draining:
            raise StoppingError("the service is shutting down; ask another one", retry_after_s=_RETRY_S)
        if self.opened is None or not self.opened.done():
            raise NotReadyError("the models are being loaded; try again", retry_after_s=_RETRY_S)
        if self.opened.cancelled() or self.opened.exception():
            raise NotReadyError(f"the models could not be loaded: {self.failure()}")
        return self.opened.result()

    def failure(self) -> BaseException | None:
        """Why the catalog could not be opened, if it could not."""
        if self.opened is None or not self.opened.done() or self.opened.cancelled():
            return None
        return self.opened.exception()

    def is_open(self) -> bool:
        """Whether there are models to ask for."""
        opened = self.opened
        return not self.draining and opened is not None and opened.done() and self.failure() is None

    def ready(self) -> tuple[bool, str]:
        """Whether this process can serve requests, and if not, why."""
        if self.leaving:
            return False, "the service is shutting down"
        try:
            return self.catalog().ready()
        except (NotReadyError, StoppingError) as error:
            return False, error.detail

    def all_ready(self) -> tuple[bool, str]:
        """Whether every process that clients can reach can serve requests, and if one cannot, why."""
        fine, reason = self.ready()
        trouble = self.team.trouble() if fine else None
        return (fine, reason) if trouble is None else (False, trouble)

    def state(self) -> State:
        """What the other processes are told of this one."""
        ready, reason = self.ready()
        catalog = self._opened()
        if catalog is None:
            return State(ready, reason, seen=0.0, aliases="")
        return State(ready, reason, catalog.seen, catalog.aliases_digest())

    async def begin_to_listen(self) -> None:
        """Join the other processes, with all that they know of the store; to be done before a client can connect."""
        missed = self.team.begin_to_listen(self.state())
        catalog = self._opened()
        if missed and catalog is not None:
            with contextlib.suppress(OSError, ServiceError):  # the watcher meets it too, and says so in the log
                await catalog.refresh()
        self.team.hear(self.look_again)

    def end_listening(self) -> None:
        """Leave the other processes."""
        self.team.stop_hearing()
        self.team.end_listening(self.state())

    def look_again(self) -> None:
        """The store may have changed."""
        if self.opened is not None:  # while the models are loaded, this waits for that
            self.opened.add_done_callback(lambda _: self._hurry())

    def tell(self) -> None:
        """Let the other processes know how this one does."""
        self.team.tell(self.state())

    def refreshed(self) -> None:
        """See Follower."""
        self.tell()

    def found_change(self) -> None:
        """See Follower."""
        self.team.ring()

    def _hurry(self) -> None:
        catalog = self._opened()
        if catalog is not None:
            catalog.hurry()

    def _opened(self) -> Catalog | None:
        opened = self.opened
        if opened is None or not opened.done() or opened.cancelled() or opened.exception() is not None:
            return None
        return opened.result()

    def engine_state(self) -> EngineState:
        """What the metrics show of the engine."""
        ready = self.all_ready()[0]
        catalog = self._opened()
        if catalog is None:
            return EngineState(ready, 0, 0, 0, [], [])
        models = catalog.models()
        return EngineState(
            ready=ready,
            lanes=catalog.lanes.count,
            at_once=catalog.lanes_at_once,
            busy=catalog.lanes.busy,
            graphs=[
                GraphState(batcher.source, batcher.queued_images, batcher.limits.max_batch_size)
                for model in models
                for batcher in model.batchers.values()
            ],
            models=[(m.name, str(m.version), m.digest, m.runtime, m.provider) for m in models],
        )
