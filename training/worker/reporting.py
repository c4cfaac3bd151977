"""What the child tells while it trains: progress once a second, an event per epoch, pictures."""

import time
from collections.abc import Callable

from bundle.store import Bundle
from jobs.model import Progress
from training.watching.sink import About, Ending, Picture, Snapshot
from training.worker import protocol
from training.worker.protocol import Report

_EVERY_S = 1.0


class Reporter:
    """A sink of a run whose reports go to the worker; progress is told once a second at most."""

    def __init__(self, about: About, tell: Callable[[Report], None], trained: Callable[[], None]) -> None:
        """`trained` is called when the export begins."""
        self._folder = about.folder / "pictures"
        self._tell = tell
        self._trained = trained
        self._begin = about.step
        self._epoch: int | None = None  # the last one that is complete; unknown until the first snapshot
        self._told = 0.0

    def progress(self, snapshot: Snapshot) -> None:
        """Tell how far the run is, and which epochs are complete."""
        now, last = time.monotonic(), snapshot.step == snapshot.steps
        completed = self._completed(snapshot, last)
        if now - self._told < _EVERY_S and not completed:
            return
        self._told = now
        progress = Progress(
            step=snapshot.step,
            steps=snapshot.steps,
            stage=snapshot.stage,
            seconds=snapshot.seconds,
            images_per_second=snapshot.images_per_second,
            eta_s=snapshot.eta_s,
            losses=snapshot.losses,
            epoch=snapshot.epoch,
        )
        self._tell(protocol.Advance(progress=progress, epochs=completed))

    def _completed(self, snapshot: Snapshot, last: bool) -> tuple[int, ...]:
        """Epochs since the last snapshot, several if they are short; the last one of the run always."""
        if self._epoch is None:
            self._epoch = int(snapshot.epoch * self._begin / max(1, snapshot.step))
        before, self._epoch = self._epoch, int(snapshot.epoch)
        return tuple(range(before + 1, self._epoch + 1)) or ((self._epoch,) if last else ())

    def picture(self, picture: Picture) -> None:
        """Tell of a grid, by the file that the run writes it to."""
        path = (self._folder / f"{picture.step:07d}.png").resolve()
        self._tell(protocol.Picture(path=path, step=picture.step, epoch=picture.epoch))

    def publishing(self) -> None:
        """All rounds are played."""
        self._trained()
        self._tell(protocol.Log(message="exporting and measuring"))

    def published(self, bundle: Bundle) -> None:
        """Told by the child itself, which also knows of bundles that were there before."""

    def close(self, ending: Ending) -> None:
        """Told by the child itself, with the reason."""
