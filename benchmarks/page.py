"""The results as Markdown, and into the page between its marks."""

import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.cells import Cell
from benchmarks.compare import BARE_ALL, BARE_ONE
from benchmarks.results import Results
from benchmarks.summary import Summary
from benchmarks.targets import targets

_NONE = "-"
_COLUMNS = ("server", "connections", "requests/s", "images/s", "of the limit", "p50 ms", "p99 ms", "CPU ms a request")
_BARE = {BARE_ONE: "onnxruntime, 1 loop", BARE_ALL: "onnxruntime, 1 loop per core"}


def markdown(results: Results) -> str:
    """Conditions, targets, and a table for each model, number of images and format."""
    summary = Summary(results.measurements)
    parts = [results.conditions, _targets(summary), *_tables(summary), _problems(summary)]
    return "\n".join(part if part.endswith("\n") else part + "\n" for part in parts if part)


def write(page: Path, name: str, block: str) -> None:
    """Put a block into a page, between the marks of that name.

    Raises:
        ValueError: If the page has no such marks.
    """
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    text = page.read_text(encoding="utf-8")
    pattern = re.compile(f"(?<={re.escape(begin)}).*?(?={re.escape(end)})", re.S)
    if not pattern.search(text):
        raise ValueError(f"{page} has no lines {begin.strip()} and {end} to write between")
    page.write_text(pattern.sub(lambda _: block, text), encoding="utf-8")


def table(rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """A Markdown table whose first row is its head; all but the first columns are numbers."""
    rule = [*["---"] * text_columns, *["---:"] * (len(rows[0]) - text_columns)]
    return "".join(f"| {' | '.join(row)} |\n" for row in (rows[0], rule, *rows[1:]))


def _targets(summary: Summary) -> str:
    rows = [("target", "wanted", "measured", "reached")]
    for target in targets(summary):
        verdict = _NONE if target.found is None else "yes" if target.reached else "no"
        rows.append((target.what, target.wanted, target.found or "not measured", verdict))
    return table(rows)


def _tables(summary: Summary) -> Iterator[str]:
    for (model, images, png), cells in itertools.groupby(summary.cells, lambda c: (c.model, c.images, c.png)):
        group = list(cells)
        rows = [_COLUMNS, *(_bare_row(summary, subject, group[0]) for subject in (BARE_ONE, BARE_ALL))]
        rows += [
            _row(summary, contender.key, contender.title, cell) for cell in group for contender in summary.contenders
        ]
        title = f"{model}, {images} image{'s' if images > 1 else ''} a request, {'PNG' if png else 'raw'}"
        yield f"<details><summary>{title}</summary>\n\n{table(rows)}\n</details>\n"


def _bare_row(summary: Summary, subject: str, cell: Cell) -> tuple[str, ...]:
    return (_BARE[subject], "", *_figures(summary, subject, cell.bare))


def _row(summary: Summary, subject: str, title: str, cell: Cell) -> tuple[str, ...]:
    return (title, str(cell.connections), *_figures(summary, subject, cell))


def _figures(summary: Summary, subject: str, cell: Cell) -> tuple[str, ...]:
    def figure(value: float | None, form: str) -> str:
        return _NONE if value is None else format(value, form)

    return (
        figure(summary.value(subject, cell, lambda s: s.rate), ",.0f"),
        figure(summary.value(subject, cell, lambda s: s.rate * cell.images), ",.0f"),
        figure(summary.share_of_limit(subject, cell), ".0%"),
        figure(summary.value(subject, cell, lambda s: s.p50_ms), ".2f"),
        figure(summary.value(subject, cell, lambda s: s.p99_ms), ".2f"),
        figure(summary.value(subject, cell, lambda s: s.cpu_ms), ".3f"),
    )


def _problems(summary: Summary) -> str:
    """Why figures are missing; one line for each reason, however many cells it has spoilt."""
    cells: dict[tuple[str, str, str], int] = {}
    for contender, cell in itertools.product(summary.contenders, summary.cells):
        problem = summary.problem(contender.key, cell)
        if problem:
            place = (contender.title, cell.model, problem)
            cells[place] = cells.get(place, 0) + 1
    lines = [f"- {title} on {model} (cells: {count}): {problem}\n" for (title, model, problem), count in cells.items()]
    return "Not measured:\n\n" + "".join(lines) if lines else ""
