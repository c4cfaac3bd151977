"""What the engine tells about itself; metrics implement it."""

from typing import Literal, NamedTuple, Protocol

Ending = Literal["ok", "overloaded", "deadline", "cancelled", "failed", "stopping"]


class Source(NamedTuple):
    """Which graph an event is about."""

    model: str
    version: int
    graph: str


class EngineObserver(Protocol):
    """Callbacks of the engine. They come from lane threads as well as the event loop: quick, and safe in threads."""

    def queued(self, source: Source, images: int) -> None:
        """`images` now wait in the graph's queue (a gauge)."""

    def batch(self, source: Source, images: int, padding: int, run_s: float) -> None:
        """A batch of `images`, and `padding` rows that nobody asked for, ran for `run_s` seconds."""

    def waited(self, source: Source, seconds: float) -> None:
        """A request's first images reached a lane `seconds` after it was queued."""

    def ended(self, source: Source, ending: Ending) -> None:
        """A request ended; `overloaded` and `stopping` were refused on arrival, `deadline` then or later."""

    def lanes_busy(self, busy: int, lanes: int) -> None:
        """`busy` of `lanes` are running a batch (a gauge)."""


class SilentObserver:
    """Hears everything and says nothing."""

    def queued(self, source: Source, images: int) -> None: ...

    def batch(self, source: Source, images: int, padding: int, run_s: float) -> None: ...

    def waited(self, source: Source, seconds: float) -> None: ...

    def ended(self, source: Source, ending: Ending) -> None: ...

    def lanes_busy(self, busy: int, lanes: int) -> None: ...
