"""Curves made of characters: sparklines, and plots in braille (2 × 4 dots a character)."""

import itertools
import math
from collections.abc import Sequence

from rich.text import Text

from training.watching.history import Point

_BLOCKS = "▁▂▃▄▅▆▇█"
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))  # [column][row] of a braille character
_KEPT = 0.9  # of the values set the scale: the first losses of a run are often far from all others


def sparkline(values: Sequence[float], width: int) -> str:
    """The course of some values in one line of at most `width` characters; "" for no values."""
    means = _means(values, width)
    if not means:
        return ""
    low, high = _scale(means)
    top = len(_BLOCKS) - 1
    return "".join(_BLOCKS[round(_share(mean, low, high) * top)] for mean in means)


def curves(series: Sequence[tuple[Sequence[Point], str]], width: int, height: int, label_width: int = 8) -> list[Text]:
    """Several curves on the same axes.

    Args:
        series: Points (step, value) and the style of each curve.
        width, height: In characters, labels included.
        label_width: Of the column with the scale on the left.

    Returns:
        `height` lines; the first and the last carry the scale.
    """
    series = [(points, style) for points, style in series if points]
    if not series:
        return []
    columns = 2 * max(1, width - label_width - 1)
    low, high = _scale([value for points, _ in series for _, value in points])
    first = min(points[0][0] for points, _ in series)
    last = max(points[-1][0] for points, _ in series)
    cells: dict[tuple[int, int], tuple[int, str]] = {}
    for points, style in series:
        _draw(cells, _rows(points, (first, last), (low, high), columns, 4 * height), style)
    return [
        _line(cells, row, (columns + 1) // 2, _label(row, height, low, high).rjust(label_width))
        for row in range(height)
    ]


def _rows(
    points: Sequence[Point], steps: tuple[float, float], values: tuple[float, float], columns: int, rows: int
) -> list[tuple[int, int]]:
    """(column, row) of each column of dots that has points; row 0 is the highest value."""
    sums: dict[int, tuple[float, int]] = {}
    for step, value in points:
        column = round(_share(step, *steps) * (columns - 1))
        total, n = sums.get(column, (0.0, 0))
        sums[column] = (total + value, n + 1)
    return [
        (column, round((1 - _share(total / n, *values)) * (rows - 1))) for column, (total, n) in sorted(sums.items())
    ]


def _draw(cells: dict[tuple[int, int], tuple[int, str]], dots: list[tuple[int, int]], style: str) -> None:
    """Dots, joined by straight lines."""
    for (x0, y0), (x1, y1) in zip(dots, dots[1:] or dots, strict=False):
        steps = max(abs(x1 - x0), abs(y1 - y0), 1)
        for i in range(steps + 1):
            x, y = round(x0 + (x1 - x0) * i / steps), round(y0 + (y1 - y0) * i / steps)
            bits, _ = cells.get((x // 2, y // 4), (0, style))
            cells[x // 2, y // 4] = (bits | _DOTS[x % 2][y % 4], style)


def _line(cells: dict[tuple[int, int], tuple[int, str]], row: int, columns: int, label: str) -> Text:
    line = Text(f"{label} ", style="dim", no_wrap=True)
    found = (cells.get((column, row), (0, "")) for column in range(columns))
    for style, group in itertools.groupby(found, key=lambda cell: cell[1]):
        line.append("".join(chr(_BRAILLE + bits) for bits, _ in group), style=f"not dim {style}")
    return line


def _label(row: int, height: int, low: float, high: float) -> str:
    if row == 0:
        return f"{high:.4g}"
    return f"{low:.4g}" if row == height - 1 else ""


def _means(values: Sequence[float], width: int) -> list[float]:
    n = len(values)
    if n <= width:
        return list(values)
    edges = [i * n // width for i in range(width + 1)]
    return [math.fsum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """Least and greatest value once the extremes beyond `_KEPT` are left out."""
    ordered = sorted(values)
    out = int(len(ordered) * (1 - _KEPT) / 2)
    return ordered[out], ordered[-1 - out]


def _share(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low))) if high > low else 0.5
