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
    """A sink of a run whose reports go to the worker; of what comes faster than one a second, the last is told."""

    def __init__(self, about: About, tell: Callable[[Report], None], trained: Callable[[], None]) -> None:
        """`trained` is called when the export begins."""
        self._folder = about.folder / "pictures"
        self._tell = tell
        self._trained = trained
        self._steps = about.steps
        self._epoch = -1  # unknown until the first snapshot: a run that goes on has completed some
        self._told = self._shown = 0.0

    def progress(self, snapshot: Snapshot) -> None:
        """Tell how far the run is, and whether an epoch is complete."""
        now, last = time.monotonic(), snapshot.step == snapshot.steps
        if now - self._told < _EVERY_S and not last:
            return
        epoch = int(snapshot.epoch)
        completed = epoch if last or 0 <= self._epoch < epoch else None
        self._told, self._epoch = now, epoch
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
        self._tell(protocol.Advance(progress=progress, epoch=completed))

    def picture(self, picture: Picture) -> None:
        """Tell of a grid, by the file that the run writes it to."""
        now = time.monotonic()
        if now - self._shown < _EVERY_S and picture.step != self._steps:
            return
        self._shown = now
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
