"""What the engine tells about itself; metrics implement it."""

from typing import Literal, NamedTuple, Protocol

Ending = Literal["ok", "overloaded", "deadline", "cancelled", "failed", "stopping"]


class Source(NamedTuple):
    """Which graph an event is about."""

    model: str
    version: int
    graph: str


class EngineObserver(Protocol):
    """Callbacks of the engine, for what happens; what is the case (queues, lanes) is asked for instead.

    They come from lane threads as well as the event loop, without any lock held: quick, and safe in threads.
    """

    def batch(self, source: Source, images: int, padding: int, run_s: float) -> None:
        """A batch of `images`, and `padding` rows that nobody asked for, ran for `run_s` seconds."""

    def ended(self, source: Source, ending: Ending) -> None:
        """A request ended; `overloaded` and `stopping` were refused on arrival, `deadline` then or later."""

    def rebuilt(self, source: Source, reason: str) -> None:
        """The graph's runtime hung and was replaced by a new one; `reason` is one word."""

    def shrunk(self, source: Source, max_batch_size: int) -> None:
        """Memory ran out: batches have at most `max_batch_size` images from now on."""


class SilentObserver:
    """Hears everything and says nothing."""

    def batch(self, source: Source, images: int, padding: int, run_s: float) -> None: ...

    def ended(self, source: Source, ending: Ending) -> None: ...

    def rebuilt(self, source: Source, reason: str) -> None: ...

    def shrunk(self, source: Source, max_batch_size: int) -> None: ...
