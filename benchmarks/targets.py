"""What the service is to reach, and whether it does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.cells import Cell, Sample
from benchmarks.compare import BARE_ONE
from benchmarks.contenders import CONTENDERS, OURS
from benchmarks.models import LARGE, SMALL
from benchmarks.summary import Summary

_BUSY = 32
_TIMES_FASTER = ((1, "fastapi", 2.5), (1, "triton", 2.0), (1, "litserve", 6.0), (1, "ray", 20.0), (16, "fastapi", 1.5))
_SHARES = ((16, False, 0.95), (1, False, 0.90), (16, True, 0.85), (1, True, 0.85))
_ADDED_CPU_MS = 0.12
_ADDED_P50_MS = 0.3


@dataclass(frozen=True)
class Target:
    """A figure to reach; `found` is None where it was not measured."""

    what: str
    wanted: str
    found: str | None
    reached: bool


def targets(summary: Summary) -> list[Target]:
    """All of them, in the order of the page."""
    return [*_ratios(summary), *_shares(summary), *_added(summary)]


def _ratios(summary: Summary) -> Iterator[Target]:
    for images, peer, wanted in _TIMES_FASTER:
        cell = Cell(SMALL, images, _BUSY)
        found = summary.compared(OURS, cell, peer, cell, lambda ours, theirs: ours.rate / theirs.rate)
        what = f"{SMALL}, n = {images}, raw, {_BUSY} connections: throughput over {CONTENDERS[peer].title}"
        yield _target(what, found, wanted, lambda value: f"{value:.2f} times", at_least=True)


def _shares(summary: Summary) -> Iterator[Target]:
    for images, png, wanted in _SHARES:
        cell = Cell(LARGE, images, _BUSY, png)
        found = summary.share_of_limit(OURS, cell)
        what = f"{LARGE}, n = {images}, {'PNG' if png else 'raw'}, {_BUSY} connections: throughput over the bare loops"
        yield _target(what, found, wanted, lambda value: f"{100 * value:.0f} %", at_least=True)


def _added(summary: Summary) -> Iterator[Target]:
    def added(cell: Cell, of: Callable[[Sample], float]) -> float | None:
        return summary.compared(OURS, cell, BARE_ONE, cell.bare, lambda ours, bare: of(ours) - of(bare))

    busy, idle = Cell(SMALL, 1, _BUSY), Cell(SMALL, 1, 1)
    what = f"{SMALL}, n = 1, raw, {_BUSY} connections: CPU a request beyond the bare run"
    yield _target(what, added(busy, lambda s: s.cpu_ms), _ADDED_CPU_MS, _milliseconds, at_least=False)
    what = f"{SMALL}, n = 1, raw, 1 connection: p50 beyond the bare run"
    yield _target(what, added(idle, lambda s: s.p50_ms), _ADDED_P50_MS, _milliseconds, at_least=False)


def _milliseconds(value: float) -> str:
    return f"{value:.3f} ms"


def _target(what: str, found: float | None, wanted: float, text: Callable[[float], str], at_least: bool) -> Target:
    sign = "≥" if at_least else "≤"
    if found is None:
        return Target(what, f"{sign} {text(wanted)}", None, False)
    return Target(what, f"{sign} {text(wanted)}", text(found), found >= wanted if at_least else found <= wanted)
