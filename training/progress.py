"""Turns the rounds of a loop into what people see: snapshots and pictures, handed to every sink."""

import time
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from bundle.store import Bundle
from training.averaged import averaged_family, draw
from training.loop import Loop, Progress
from training.pictures import grid_png
from training.recipe import resolved
from training.tensorboard_events import TensorBoard
from training.tracking import tracker
from training.watching.picture_folder import PictureFolder
from training.watching.run_file import RunFile
from training.watching.scalars import ScalarFile
from training.watching.sink import About, Ending, Picture, Sink, Snapshot
from training.watching.terminal import Terminal

PICTURE_IMAGES = 64
_SNAPSHOT_EVERY_S = 0.5  # reading a loss waits for nothing on a CPU, but nobody reads faster
_WINDOW = 200  # rounds that speed is measured over


class Display:
    """Shows and records the progress of a loop; told of every round, it hands on few of them."""

    def __init__(self, loop: Loop, more: Iterable[Callable[[About], Sink]] = ()) -> None:
        """Open the sinks of every run (terminal, scalars, pictures, TensorBoard, MLflow if asked for) and `more`.

        Raises:
            TrackingError: If MLflow is asked for and not installed.
        """
        self.loop = loop
        self.ending = Ending.FAILED  # until something better is known
        self.times: deque[tuple[int, float]] = deque(maxlen=_WINDOW)
        self.due = 0.0
        per_epoch = len(loop.stream.data) / loop.recipe.train.batch_size
        self.picture_rounds = max(1, round(per_epoch * loop.recipe.train.picture_epochs))
        about = _about(loop)
        tracked = tracker(about)
        self.sinks: list[Sink] = [
            Terminal(about),  # reads the scalars of earlier sessions
            RunFile(about),
            ScalarFile(about.folder, about.step),
            PictureFolder(about.folder),
            TensorBoard(about),
            *([tracked] if tracked else []),
            *(build(about) for build in more),
        ]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.ending = Ending.FAILED
        for sink in self.sinks:
            sink.close(self.ending)

    def __call__(self, progress: Progress) -> None:
        """Take note of a round."""
        now = time.monotonic()
        self.times.append((progress.round, now))
        last = progress.round == progress.rounds
        if now >= self.due or last:
            self.due = now + _SNAPSHOT_EVERY_S
            snapshot = self._snapshot(progress)
            for sink in self.sinks:
                sink.progress(snapshot)
        if progress.round % self.picture_rounds == 0 or last:
            self._picture(progress)

    def stopped(self) -> None:
        """The loop was asked to end before its last round."""
        self.ending = Ending.STOPPED

    def publishing(self) -> None:
        """All rounds are played; the export begins."""
        for sink in self.sinks:
            sink.publishing()

    def published(self, bundle: Bundle) -> None:
        """The run has become a bundle."""
        self.ending = Ending.PUBLISHED
        for sink in self.sinks:
            sink.published(bundle)

    def images_per_second(self) -> float:
        """Training images per second over the latest rounds; 0 before the second round."""
        (first, start), (last, end) = self.times[0], self.times[-1]
        return (last - first) * self.loop.recipe.train.batch_size / (end - start) if end > start else 0.0

    def _snapshot(self, progress: Progress) -> Snapshot:
        speed = self.images_per_second()
        batch = self.loop.recipe.train.batch_size
        return Snapshot(
            step=progress.round,
            steps=progress.rounds,
            stage=progress.stage,
            seconds=progress.seconds,
            images_per_second=speed,
            eta_s=(progress.rounds - progress.round) * batch / speed if speed else None,
            epoch=self._epoch(progress),
            losses=progress.scalars(),
        )

    def _epoch(self, progress: Progress) -> float:
        return progress.round * self.loop.recipe.train.batch_size / len(self.loop.stream.data)

    def _picture(self, progress: Progress) -> None:
        family = averaged_family(self.loop.family.context, self.loop.ema.state)
        pixels = draw(family, PICTURE_IMAGES)
        if pixels is not None:
            picture = Picture(progress.round, self._epoch(progress), grid_png(pixels))
            for sink in self.sinks:
                sink.picture(picture)


def _about(loop: Loop) -> About:
    device = next(loop.family.networks.parameters()).device
    where = f"{device}, {loop.recipe.train.threads} thread(s)"
    return About(loop.folder.name, resolved(loop.recipe), loop.folder, loop.round, loop.rounds, where)
