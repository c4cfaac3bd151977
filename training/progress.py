"""What people see of a run: a progress bar, a log of scalars, pictures from fixed latents."""

import json
import logging
import sys
import time
from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from training.averaged import averaged_family, draw
from training.loop import Loop, Progress
from training.pictures import save_grid

_log = logging.getLogger(__name__)
PICTURE_IMAGES = 64
_SHOWN_EVERY_S = 0.5  # reading a loss waits for nothing on a CPU, but a screen need not change faster
_LINE_EVERY_S = 30.0
_WINDOW = 200  # rounds that speed is measured over


class Display:
    """Shows and records the progress of a loop."""

    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.console = Console(file=sys.stderr)
        self.bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[status]}"),
            expand=True,
        )
        self.terms = Text(style="dim")
        self.live = Live(Group(self.bar, self.terms), console=self.console, refresh_per_second=4)
        self.task: TaskID = self.bar.add_task(loop.recipe.name, total=loop.rounds, completed=loop.round, status="")
        self.times: deque[tuple[int, float]] = deque(maxlen=_WINDOW)
        self.shown = 0.0
        self.line = 0.0
        per_epoch = len(loop.stream.data) / loop.recipe.train.batch_size
        self.picture_rounds = max(1, round(per_epoch * loop.recipe.train.picture_epochs))
        loop.folder.mkdir(parents=True, exist_ok=True)
        self.scalars = (loop.folder / "scalars.jsonl").open("a")

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()
        self.scalars.close()

    def __call__(self, progress: Progress) -> None:
        """Take note of a round."""
        now = time.monotonic()
        self.times.append((progress.round, now))
        if now - self.shown > _SHOWN_EVERY_S or progress.round == progress.rounds:
            self.shown = now
            self._show(progress, now)
        if progress.round % self.picture_rounds == 0 or progress.round == progress.rounds:
            self._picture(progress)

    def _show(self, progress: Progress, now: float) -> None:
        speed = self.images_per_second()
        left = (progress.rounds - progress.round) * self.loop.recipe.train.batch_size / speed if speed else 0.0
        scalars = progress.scalars()
        terms = "  ".join(f"{name} {value:.4g}" for name, value in scalars.items())
        status = f"{speed:.0f} images/s, {_clock(left)} left"
        self.bar.update(self.task, completed=progress.round, status=status)
        self.terms.plain = terms
        record = {"round": progress.round, "stage": progress.stage, "seconds": round(progress.seconds, 1)}
        self.scalars.write(json.dumps({**record, "images_per_s": round(speed, 1), **scalars}) + "\n")
        self.scalars.flush()
        if not self.console.is_terminal and now - self.line > _LINE_EVERY_S:
            self.line = now
            _log.info("round %d of %d: %s, %s", progress.round, progress.rounds, status, terms)

    def images_per_second(self) -> float:
        """Training images per second over the latest rounds; 0 before the second round."""
        (first, start), (last, end) = self.times[0], self.times[-1]
        return (last - first) * self.loop.recipe.train.batch_size / (end - start) if end > start else 0.0

    def _picture(self, progress: Progress) -> None:
        family = averaged_family(self.loop.family.context, self.loop.ema.state)
        pixels = draw(family, PICTURE_IMAGES)
        if pixels is not None:
            save_grid(self.loop.folder / "pictures" / f"{progress.round:07d}.png", pixels)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"
