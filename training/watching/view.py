"""The view of a run: what it is, how far it is, the course of its losses, where its pictures and logs are."""

from collections import deque
from collections.abc import Iterator, Mapping

from rich.console import Console, ConsoleOptions, ConsoleRenderable, Group, RenderResult
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from training.watching.history import History
from training.watching.plot import curves, sparkline
from training.watching.sink import Snapshot

_PLOT_HEIGHT = 8
_LEAST_HEIGHT = 20  # lines of a terminal below which the plot is left out
_NOTES = 3
_CURVE_STYLES = ("cyan", "magenta", "yellow")
_STATE_STYLES = {
    "running": "green",
    "training": "green",
    "publishing": "cyan",
    "published": "bold green",
    "succeeded": "bold green",
    "queued": "yellow",
    "cancelling": "yellow",
    "stopped": "yellow",
    "cancelled": "yellow",
    "failed": "bold red",
}


class RunView:
    """A picture of a run that can be drawn at any moment; `state`, `facts` and `notes` may be changed freely."""

    def __init__(self, title: str, state: str = "running", facts: Mapping[str, str] | None = None) -> None:
        self.title = title
        self.state = state
        self.facts = dict(facts or {})
        self.notes: deque[str] = deque(maxlen=_NOTES)
        self.history = History()
        self.latest: Snapshot | None = None

    def take(self, snapshot: Snapshot) -> None:
        """Take in the latest state of the run."""
        self.latest = snapshot
        self.history.add(snapshot.step, snapshot.losses)

    def line(self) -> str:
        """The same in one line, for files and pipes."""
        if self.latest is None:
            return f"{self.title}: {self.state}"
        s = self.latest
        losses = ", ".join(f"{name} {value:.4g}" for name, value in s.losses.items())
        return f"step {s.step:,} of {s.steps:,}, epoch {s.epoch:.1f}, {s.stage}, {_speed(s)}, {_left(s)}: {losses}"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it as wide as the terminal is, with a plot where there is room for one."""
        width = options.max_width - 4
        parts = [*self._head(), *self._losses(width, options.size.height >= _LEAST_HEIGHT), *self._foot()]
        title = Text.assemble((self.title, "bold"), " · ", (self.state, _STATE_STYLES.get(self.state, "")))
        yield Panel(Group(*parts), title=title, title_align="left", border_style="dim", width=options.max_width)

    def _head(self) -> Iterator[ConsoleRenderable]:
        s = self.latest
        if s is None:
            yield Text("no round is finished yet", style="dim")
            return
        bar = Table.grid(padding=(0, 1), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_row(ProgressBar(s.steps, s.step, width=None), f"{s.step / s.steps:.0%}  step {s.step:,} of {s.steps:,}")
        yield bar
        parts = [f"epoch {s.epoch:.1f}", f"stage {s.stage}", _speed(s), f"{clock(s.seconds)} gone", _left(s)]
        yield Text(" · ".join(parts))

    def _losses(self, width: int, with_plot: bool) -> Iterator[ConsoleRenderable]:
        if not self.history.names:
            return
        styles = dict(zip(self._plotted(), _CURVE_STYLES, strict=False))
        if with_plot:
            yield Text()
            lines = [(self.history.points(name), style) for name, style in styles.items()]
            yield from curves(lines, width, _PLOT_HEIGHT)
        yield Text()
        yield self._table(width, styles)

    def _plotted(self) -> list[str]:
        """The players' losses; of a player that plays seldom the sparkline is enough."""
        names = [name for name in self.history.names if name.endswith(".loss")] or self.history.names
        lengths = {name: len(self.history.points(name)) for name in names}
        most = max(lengths.values(), default=0)
        return [name for name in names if 2 * lengths[name] > most][: len(_CURVE_STYLES)]

    def _table(self, width: int, styles: Mapping[str, str]) -> Table:
        names = self.history.names
        room = max(8, width - max(map(len, names), default=0) - 13)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(justify="right", no_wrap=True, min_width=9)
        table.add_column(no_wrap=True)
        for name in names:
            style = styles.get(name, "")
            values = self.history.values(name)
            latest = self.latest.losses.get(name, values[-1]) if self.latest else values[-1]
            table.add_row(Text(name, style=style), f"{latest:.4g}", Text(sparkline(values, room), style=style or "dim"))
        return table

    def _foot(self) -> Iterator[ConsoleRenderable]:
        if self.facts:
            yield Text()
            facts = Table.grid(padding=(0, 2, 0, 0))
            facts.add_column(style="dim", no_wrap=True)
            facts.add_column(overflow="fold")
            for label, text in self.facts.items():
                facts.add_row(label, Text(text))
            yield facts
        if self.notes:
            yield Text()
            yield from (Text(note, style="dim", no_wrap=True, overflow="ellipsis") for note in self.notes)


def clock(seconds: float) -> str:
    """Hours, minutes and seconds: 0:01:24."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"


def _speed(snapshot: Snapshot) -> str:
    return f"{snapshot.images_per_second:,.0f} images/s"


def _left(snapshot: Snapshot) -> str:
    return "time left unknown" if snapshot.eta_s is None else f"{clock(snapshot.eta_s)} left"
