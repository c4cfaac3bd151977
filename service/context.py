"""What an application holds while it lives."""

import asyncio
from dataclasses import dataclass, field

from service.access import AccessLog
from service.catalog import Catalog
from service.errors import NotReadyError, StoppingError
from service.metrics import EngineState, GraphState, Metrics
from service.settings import Settings
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
    """

    settings: Settings
    workers: Workers
    access: AccessLog
    metrics: Metrics = field(default_factory=Metrics)
    opened: asyncio.Task[Catalog] | None = None
    begun: asyncio.Event = field(default_factory=asyncio.Event)
    leaving: bool = False
    draining: bool = False

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
        """Whether requests can be served, and if not, why."""
        if self.leaving:
            return False, "the service is shutting down"
        try:
            return self.catalog().ready()
        except (NotReadyError, StoppingError) as error:
            return False, error.detail

    def engine_state(self) -> EngineState:
        """What the metrics show of the engine."""
        ready = self.ready()[0]
        if self.opened is None or not self.opened.done() or self.failure() or self.opened.cancelled():
            return EngineState(ready, 0, 0, [], [])
        catalog = self.opened.result()
        models = catalog.models()
        return EngineState(
            ready=ready,
            lanes=catalog.lanes.count,
            busy=catalog.lanes.busy,
            graphs=[
                GraphState(batcher.source, batcher.queued_images, batcher.limits.max_batch_size)
                for model in models
                for batcher in model.batchers.values()
            ],
            models=[(m.name, str(m.version), m.digest, m.runtime, m.provider) for m in models],
        )
