"""Runs side by side, one table per data set: figures of different data cannot be compared."""

import dataclasses
import json
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.table import Table
from rich.text import Text

from training.runs import Run, lower_is_better, ranked
from training.watching.recipes import differences
from training.watching.view import clock

DEFAULT_SORT = "frechet_distance"
_COLUMNS = ("frechet_distance", "precision", "recall", "elbo", "psnr", "ssim")
_DIFFERENCES = 5
_WIDTH_OF_OTHERS, _WIDTH_OF_A_FIGURE = 58, 11  # columns of the table, about
_OTHER_PROTOCOL = "*"


def runs_tables(
    runs: Sequence[Run], sort: str | None, columns: Sequence[str], reverse: bool, whole: bool, width: int
) -> Group:
    """A table for each data set.

    Args:
        runs: Of `find_runs`.
        sort: The figure that decides the order; None for the Fréchet distance.
        columns: Figures to show; none for as many of the usual ones as there is room for.
        reverse: Worst first.
        whole: Every difference between recipes, not the first few.
        width: Of the terminal, in characters.

    Raises:
        TrainingError: If no run has the figure.
    """
    if sort is not None:
        ranked(runs, sort)  # an unknown figure is an error even where the data sets are few
    parts = []
    for data in sorted({run.data for run in runs}):
        group = [run for run in runs if run.data == data]
        figure = sort or DEFAULT_SORT
        if any(figure in run.figures for run in group):
            group = ranked(group, figure, reverse)
        parts.append(_table(data, group, _shown(group, columns, sort, width), whole))
    return Group(*parts) if parts else Group(Text("no runs yet: `python -m training train configs/NAME.toml`"))


def runs_json(runs: Sequence[Run]) -> str:
    """The same for programs."""
    return json.dumps([dataclasses.asdict(run) for run in runs], indent=1)


def _shown(runs: Sequence[Run], columns: Sequence[str], sort: str | None, width: int) -> list[str]:
    if columns:
        return [*columns] if sort is None or sort in columns else [sort, *columns]
    usual = [name for name in _COLUMNS if any(name in run.figures for run in runs)]
    if sort is not None:
        usual = [sort, *(name for name in usual if name != sort)]
    return usual[: max(1, (width - _WIDTH_OF_OTHERS) // _WIDTH_OF_A_FIGURE)]


def _table(data: str, runs: Sequence[Run], columns: Sequence[str], whole: bool) -> Group:
    table = Table(
        title=data, title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for name in ("run", "family", "state"):
        table.add_column(name, no_wrap=name == "run")
    table.add_column("steps", justify="right", no_wrap=True)
    table.add_column("time", justify="right", no_wrap=True)
    for name in columns:
        heading = name.replace("_", "_\n")
        table.add_column(f"{heading} {'↓' if lower_is_better(name) else '↑'}", justify="right", no_wrap=True)
    best = {name: _best(runs, name) for name in columns}
    for run in runs:
        cells = [_cell(run, name, best[name], runs) for name in columns]
        table.add_row(run.label, run.family, run.state, f"{run.steps:,}", clock(run.seconds), *cells)
    notes = [_differences(runs, whole)]
    if any(_odd(run, name, runs) for run in runs for name in columns):
        notes.append(Text(f"{_OTHER_PROTOCOL} measured in another way than the first: not comparable\n", style="dim"))
    return Group(table, *notes)


def _differences(runs: Sequence[Run], whole: bool) -> Text:
    """What the recipes of a family differ in, a line for each run."""
    found = Text()
    for run, differing in zip(runs, differences([run.recipe for run in runs]), strict=True):
        values = [f"{key.removeprefix('model.').removeprefix('train.')} {value}" for key, value in differing.items()]
        if len(values) > _DIFFERENCES and not whole:
            values[_DIFFERENCES:] = [f"and {len(values) - _DIFFERENCES} more (--whole)"]
        if values:
            found.append(f"  {run.label}: ").append(", ".join(values) + "\n", style="dim")
    return found


def _cell(run: Run, name: str, best: float | None, runs: Sequence[Run]) -> Text:
    if name not in run.figures:
        return Text("")
    value = run.figures[name]
    mark = _OTHER_PROTOCOL if _odd(run, name, runs) else ""
    return Text(f"{value:.4g}{mark}", style="bold green" if value == best and len(runs) > 1 else "")


def _best(runs: Sequence[Run], name: str) -> float | None:
    values = [run.figures[name] for run in runs if name in run.figures and not _odd(run, name, runs)]
    if not values:
        return None
    return min(values) if lower_is_better(name) else max(values)


def _odd(run: Run, name: str, runs: Sequence[Run]) -> bool:
    """Whether a figure was measured in another way than that of the first run that says how."""
    first = next((other.protocols[name] for other in runs if name in other.protocols), None)
    return name in run.protocols and run.protocols[name] != first
