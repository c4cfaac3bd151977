"""A plot of characters: one column of markers for each batch size, side by side, so that none hides another."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

MARKERS = "●○■□▲△◆◇"
CHOSEN = "★"
_HEIGHT = 11
_LEAST_COLUMN = 6
_GAP = 2


@dataclass(frozen=True)
class Series:
    """What one kind of marker shows.

    Attributes:
        label: For the legend.
        values: By batch size, above 0; not every batch size need have one.
        chosen: The batch size that gets the star.
    """

    label: str
    values: Mapping[int, float]
    chosen: int | None = None


def plot(title: str, series: Sequence[Series], log: bool, line: float | None = None) -> list[str]:
    """Lines of text.

    Args:
        title: Says what the values are, with their unit.
        series: At least one, with at least one value; beyond eight, markers repeat.
        log: Let equal steps be equal factors; else the axis begins at 0.
        line: A value to draw a line at; left out if it is beyond what is plotted.
    """
    values = [value for each in series for value in each.values.values()]
    batches = sorted({batch for each in series for batch in each.values})
    low, high = (min(values), max(values)) if log else (0.0, max(values))
    row = _scale(low, high, log)
    width = max(_LEAST_COLUMN, len(series) + _GAP)
    grid = [[" "] * (width * len(batches)) for _ in range(_HEIGHT)]
    if line is not None and low <= line <= high:
        grid[row(line)] = ["┄"] * (width * len(batches))
    for at, batch in enumerate(batches):
        left = at * width + (width - len(series)) // 2
        for k, each in enumerate(series):
            if batch in each.values:
                marker = CHOSEN if batch == each.chosen else MARKERS[k % len(MARKERS)]
                grid[row(each.values[batch])][left + k] = marker
    ticks = {row(value): value for value in reversed(_ticks(low, high, log))}
    lines = [f"{_number(ticks[at]) if at in ticks else '':>9} {'┤' if at in ticks else '│'}" for at in range(_HEIGHT)]
    body = [f"{axis}{''.join(cells)}".rstrip() for axis, cells in zip(lines, grid, strict=True)][::-1]
    foot = [f"{'':>10}└{'─' * (width * len(batches))}", f"{'batch':>9}  " + "".join(f"{b:^{width}}" for b in batches)]
    return [title, *body, *(text.rstrip() for text in foot)]


def legend(series: Sequence[Series]) -> str:
    """What the markers stand for."""
    return "   ".join(f"{MARKERS[k % len(MARKERS)]} {each.label}" for k, each in enumerate(series))


def _scale(low: float, high: float, log: bool) -> Callable[[float], int]:
    def measure(value: float) -> float:
        return math.log(value) if log else value

    span = measure(high) - measure(low)
    return lambda value: round((measure(value) - measure(low)) / span * (_HEIGHT - 1)) if span else _HEIGHT // 2


def _ticks(low: float, high: float, log: bool) -> list[float]:
    if not log:
        step = _round_up(high / 4)
        return [i * step for i in range(int(high / step) + 1)]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    return [tick for tick in ticks if low <= tick <= high] or [low]


def _round_up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= value)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.3g}"
