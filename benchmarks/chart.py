"""The picture of the results: throughput and CPU of every subject, as an SVG."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.cells import Cell
from benchmarks.summary import Summary

CONNECTIONS = 32
_PANEL_W, _LABEL_W, _BAR_W, _ROW_H, _HEAD_H, _GAP = 490, 134, 190, 24, 40, 20
_BARE_COLOUR, _OUR_COLOUR, _PEER_COLOUR, _TEXT, _FAINT = "#8c959f", "#0969da", "#b6c2cf", "#24292f", "#57606a"
_COLUMNS = 2


@dataclass(frozen=True)
class _Bar:
    label: str
    images_per_s: float | None
    cpu_ms: float | None
    colour: str


def chart(summary: Summary) -> str:
    """A panel for each model, number of images and format, at 32 connections (or the most that were measured)."""
    most = max((cell.connections for cell in summary.cells), default=0)
    shown = CONNECTIONS if any(cell.connections == CONNECTIONS for cell in summary.cells) else most
    cells = [cell for cell in summary.cells if cell.connections == shown]
    panels = [(_title(cell), _bars(summary, cell)) for cell in cells]
    height_of = _HEAD_H + _ROW_H * (len(summary.contenders) + 1) + _GAP
    lines = -(-len(panels) // _COLUMNS)
    width, height = _COLUMNS * _PANEL_W + _GAP, lines * height_of + _HEAD_H
    body = [_text(_GAP, 26, f"Images per second at {shown} connections, and CPU per request", _TEXT, 16, bold=True)]
    for number, (title, bars) in enumerate(panels):
        line, column = divmod(number, _COLUMNS)
        body += _panel(_GAP + column * _PANEL_W, _HEAD_H + line * height_of, title, bars)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'font-family="system-ui, sans-serif">\n<rect width="100%" height="100%" fill="white"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _title(cell: Cell) -> str:
    return f"{cell.model}, n = {cell.images}, {'PNG' if cell.png else 'raw'}"


def _bars(summary: Summary, cell: Cell) -> list[_Bar]:
    subjects = [("onnxruntime", summary.limit(cell), cell.bare, _BARE_COLOUR)]
    for contender in summary.contenders:
        colour = _OUR_COLOUR if contender.package is None else _PEER_COLOUR
        subjects.append((contender.title, contender.key, cell, colour))
    return [
        _Bar(
            label,
            summary.value(subject, place, lambda s: s.rate * cell.images),
            summary.value(subject, place, lambda s: s.cpu_ms),
            colour,
        )
        for label, subject, place, colour in subjects
    ]


def _panel(x: float, y: float, title: str, bars: Sequence[_Bar]) -> Iterator[str]:
    yield _text(x, y + 18, title, _TEXT, 13, bold=True)
    longest = max((bar.images_per_s or 0.0 for bar in bars), default=0.0) or 1.0
    for number, bar in enumerate(bars):
        top = y + 28 + number * _ROW_H
        yield _text(x + _LABEL_W - 8, top + 14, bar.label, _TEXT, 12, anchor="end")
        if bar.images_per_s is None or bar.cpu_ms is None:
            yield _text(x + _LABEL_W, top + 14, "not measured", _FAINT, 12)
            continue
        length = max(1.0, _BAR_W * bar.images_per_s / longest)
        yield f'<rect x="{x + _LABEL_W}" y="{top}" width="{length:.1f}" height="{_ROW_H - 6}" fill="{bar.colour}"/>'
        figures = f"{bar.images_per_s:,.0f}/s · {bar.cpu_ms:.2f} ms"
        yield _text(x + _LABEL_W + length + 6, top + 14, figures, _FAINT, 12)


def _text(x: float, y: float, words: str, colour: str, size: int, bold: bool = False, anchor: str = "start") -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" fill="{colour}" font-size="{size}" text-anchor="{anchor}"{weight}>'
        f"{escape(words)}</text>"
    )
