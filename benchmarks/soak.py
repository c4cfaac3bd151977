"""`python -m benchmarks soak`: full load for long, with clients that leave; what the service holds must not grow."""

import argparse
import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import psutil
import uvloop

from benchmarks.cells import Cell
from benchmarks.compare_command import PAGE
from benchmarks.connection import BROKEN
from benchmarks.contenders import CONTENDERS, OURS
from benchmarks.growth import growth, is_flat
from benchmarks.leavers import LEFT, load
from benchmarks.machine import before, conditions
from benchmarks.models import LARGE, SMALL, Model, prepare
from benchmarks.page import table, write
from benchmarks.processes import ServerProcess, adopt_orphans
from benchmarks.running import Running, Workspace, running
from bundle.store import Store

_SAMPLE_S = 2.0
_WARM_UP = 0.25  # share of the time that is not judged
_REST_S = 5.0
_IMAGES = (1, 16)
_FLAT_SHARE = 0.02
_NOISE = {"descriptors": 4.0, "threads": 1.0, "RSS, MB": 8.0}  # growth that is none


@dataclass(frozen=True)
class Holding:
    """What all processes of a server hold at a time.

    Attributes:
        time: Seconds.
        figures: In the order of their names.
    """

    time: float
    figures: tuple[float, ...]


def add(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    parser = commands.add_parser("soak", parents=[shared], help="our service under full load for long")
    parser.add_argument("--minutes", type=float, default=10.0, help="(%(default)s)")
    parser.add_argument("--clients", type=int, default=64, help="at once (%(default)s)")
    parser.add_argument("--write", action="store_true", help="put the results into benchmarks/README.md")
    parser.set_defaults(run=_soak)


def _soak(options: argparse.Namespace, workspace: Workspace) -> int:
    adopt_orphans()
    begun = before()
    models = [prepare(name, Store(options.store), Store(workspace.store)) for name in (SMALL, LARGE)]
    answers: Counter[int] = Counter()
    with running(CONTENDERS[OURS], models[0], workspace) as server:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            holdings = runner.run(_loaded(server, models, options, answers))
        time.sleep(_REST_S)
        rest = hold(server.process)
    judged = [held for held in holdings if held.time >= _WARM_UP * holdings[-1].time]
    rows = list(verdicts(judged, rest))
    counts = {LEFT: "left before their answer", BROKEN: "broken off by the service"}
    ended = ", ".join(f"{count} {counts.get(status, status)}" for status, count in sorted(answers.items()))
    head = ("figure", "first judged", "median", "last", "after the load", "growth", "flat")
    text = (
        f"{conditions(begun)} {options.minutes:g} minutes, {options.clients} clients; requests by ending: {ended}.\n"
        f"\n{table([head, *rows])}"
    )
    print(text, end="")
    if options.write:
        write(PAGE, "soak", text)
    return 0 if all(row[-1] == "yes" for row in rows) and not answers[BROKEN] else 1


def hold(process: ServerProcess) -> Holding:
    """What a server holds now."""
    descriptors = threads = memory = 0
    for one in process.processes():
        with contextlib.suppress(psutil.Error):
            descriptors += one.num_fds()
            threads += one.num_threads()
            memory += one.memory_info().rss
    return Holding(time.monotonic(), (descriptors, threads, memory / 1e6))


def verdicts(holdings: Sequence[Holding], rest: Holding) -> Iterator[tuple[str, ...]]:
    """A row for each figure: whether it has grown over the holdings."""
    times = [held.time for held in holdings]
    for number, (name, noise) in enumerate(_NOISE.items()):
        values = [held.figures[number] for held in holdings]
        grown = growth(times, values)
        flat = is_flat(grown, values, _FLAT_SHARE, noise)
        shown = (values[0], sorted(values)[len(values) // 2], values[-1], rest.figures[number])
        yield (name, *(f"{value:,.0f}" for value in shown), f"{grown:+.1f}", "yes" if flat else "no")


async def _loaded(
    server: Running, models: Sequence[Model], options: argparse.Namespace, answers: Counter[int]
) -> list[Holding]:
    cells = [Cell(model.name, n, 1, png) for model in models for n in _IMAGES for png in (False, True)]
    requests = [CONTENDERS[OURS].request(cell).raw() for cell in cells]
    seconds = 60 * options.minutes
    loading = asyncio.create_task(load(server.port, requests, options.clients, seconds, answers))
    start = time.monotonic()
    holdings = []
    while not loading.done():
        held = hold(server.process)
        holdings.append(Holding(held.time - start, held.figures))
        await asyncio.wait((loading,), timeout=_SAMPLE_S)
    loading.result()
    return holdings
