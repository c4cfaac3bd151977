"""A run in the terminal that trains it: a live view, or plain lines where there is none to draw on."""

import logging
import sys
import time

from rich.console import Console
from rich.live import Live

from bundle.store import Bundle
from training.watching.picture_folder import PICTURES
from training.watching.scalars import SCALARS, read_scalars
from training.watching.sink import About, Ending, Picture, Snapshot
from training.watching.usage import Usage
from training.watching.view import RunView

_log = logging.getLogger("training.progress")
_DRAWN_EVERY_S = 1.0
_LINE_EVERY_S = 30.0


class Terminal:
    """Draws a run on stdout; where that is no terminal, logs a line now and then."""

    def __init__(self, about: About, console: Console | None = None) -> None:
        self.console = console or Console()
        self.live = self.console.is_terminal and not self.console.is_dumb_terminal
        self.view = RunView(f"{about.name} · {about.recipe['family']}", "training", _facts(about))
        self._device, self._usage = about.device, Usage()
        self._next = 0.0
        # Drawn by the loop's own thread, once a second: a thread that draws would take the interpreter from the loop.
        self._screen = Live(self.view, console=self.console, auto_refresh=False, redirect_stderr=sys.stderr.isatty())
        if self.live:
            for step, _, losses in read_scalars(about.folder):
                self.view.history.add(step, losses)
            self._screen.start()

    def progress(self, snapshot: Snapshot) -> None:
        """Draw, unless it was drawn a moment ago."""
        self.view.take(snapshot)
        now = time.monotonic()
        if now < self._next and snapshot.step < snapshot.steps:
            return
        self._next = now + (_DRAWN_EVERY_S if self.live else _LINE_EVERY_S)
        if self.live:
            self._draw()
        else:
            _log.info("%s", self.view.line())

    def picture(self, picture: Picture) -> None:
        """Say which is the latest."""
        folder, *_ = self.view.facts["pictures"].split(" (")
        self.view.facts["pictures"] = f"{folder} (latest: {picture.step:07d}.png)"

    def publishing(self) -> None:
        """Say so: export and measurements take a while."""
        self.view.facts.pop("stop", None)
        self._state("publishing")

    def published(self, bundle: Bundle) -> None:
        """Say where."""
        self.view.facts["bundle"] = f"{bundle.manifest.name}@{bundle.manifest.version} in {bundle.path}"

    def close(self, ending: Ending) -> None:
        """Leave the last picture on the screen."""
        self.view.facts.pop("stop", None)
        self._state(str(ending))
        self._screen.stop()

    def _state(self, state: str) -> None:
        self.view.state = state
        if self.live:
            self._draw()

    def _draw(self) -> None:
        self.view.facts["on"] = f"{self._device}, {self._usage.text()}"
        self._screen.refresh()


def _facts(about: About) -> dict[str, str]:
    return {
        "on": about.device,
        "pictures": f"{about.folder / PICTURES}",
        "logs": f"{about.folder / SCALARS}; tensorboard --logdir {about.folder.parent}",
        "stop": "Ctrl-C ends it after this round, with a checkpoint",
    }
