"""All subjects in one run: rounds in which each is started, measured in its cells, and stopped before the next.

The bare loops are measured when a round begins, and again before and after each kind of load of our service: the speed
of a virtual machine may change within minutes by more than the shares that are wanted leave room for.
"""

import itertools
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.bare import cores, measure_loops
from benchmarks.cells import BARE_CONNECTIONS, Cell, Measurement, Sample, sampled
from benchmarks.contenders import OURS, Contender
from benchmarks.errors import BenchmarkError
from benchmarks.models import Model
from benchmarks.running import Running, Workspace, check_answer, running
from benchmarks.wrk import drive

BARE_ONE, BARE_ALL = "bare-1", "bare-all"
_WARM_UP_CONNECTIONS, _WARM_UP_S = 32, 1
_TURNS = 5  # a cell lasts at least as long as bare loops take for so many requests of each connection
_LONGEST_S = 15


@dataclass(frozen=True)
class Plan:
    """What is measured, and for how long.

    Attributes:
        models, contenders, images, connections, formats: Every combination is a cell of a contender; a format is
            whether it is PNG.
        rounds: How often everything is measured.
        seconds: For how long each time, at least.
    """

    models: Sequence[Model]
    contenders: Sequence[Contender]
    images: Sequence[int]
    connections: Sequence[int]
    formats: Sequence[bool]
    rounds: int
    seconds: int

    def cells(self, model: Model) -> list[Cell]:
        """Of each contender for a model."""
        return [
            Cell(model.name, images, connections, png)
            for images, png, connections in itertools.product(self.images, self.formats, self.connections)
        ]


@dataclass(frozen=True)
class Group:
    """Cells that differ in their connections alone.

    Attributes:
        round: Which one.
        images, png: As in `Cell`.
        limit: Requests per second that the bare loops could make.
    """

    round: int
    images: int
    png: bool
    limit: float


def compare(plan: Plan, workspace: Workspace) -> list[Measurement]:
    """Measure everything. What cannot be measured is in the result with the reason."""
    found: list[Measurement] = []
    broken: dict[tuple[str, str], str] = {}
    start = time.monotonic()
    for number, model in itertools.product(range(plan.rounds), plan.models):
        for images in plan.images:
            found += _bare(plan, model, number, images)
        limits = {
            measurement.cell.images: measurement.sample.rate
            for measurement in found[-2 * len(plan.images) :]
            if measurement.subject == BARE_ALL and measurement.sample
        }
        for contender in plan.contenders:
            minutes = (time.monotonic() - start) / 60
            _tell(f"{minutes:4.1f} min, round {number + 1} of {plan.rounds}: {model.name}, {contender.title}")
            reason = broken.get((contender.key, model.name))
            if reason is None:
                try:
                    with running(contender, model, workspace) as server:
                        found += _served(plan, contender, model, server, number, limits)
                    continue
                except BenchmarkError as error:
                    reason = broken[contender.key, model.name] = str(error)
                    _tell(f"{contender.title} is not measured: {reason}")
            found += [Measurement(number, contender.key, cell, None, reason) for cell in plan.cells(model)]
    return found


def _bare(plan: Plan, model: Model, number: int, images: int) -> Iterator[Measurement]:
    for subject, loops in ((BARE_ONE, 1), (BARE_ALL, cores())):
        sample = measure_loops(model, images, loops, plan.seconds)
        yield Measurement(number, subject, Cell(model.name, images, BARE_CONNECTIONS), sample)


def _served(
    plan: Plan, contender: Contender, model: Model, server: Running, number: int, limits: dict[int, float]
) -> Iterator[Measurement]:
    def bare(images: int) -> Iterator[Measurement]:
        if contender.key == OURS:
            server.process.settle()
            yield from _bare(plan, model, number, images)

    for images in plan.images:
        for png in plan.formats:
            yield from bare(images)
            yield from _driven(plan, contender, model, server, Group(number, images, png, limits[images]))
        yield from bare(images)


def _driven(plan: Plan, contender: Contender, model: Model, server: Running, group: Group) -> Iterator[Measurement]:
    warm_up = Cell(model.name, group.images, _WARM_UP_CONNECTIONS, group.png)
    request = contender.request(warm_up)
    check_answer(server.port, request, warm_up, model)
    if not group.png:
        drive(server.port, request, _WARM_UP_CONNECTIONS, _WARM_UP_S, server.folder)
    for connections in plan.connections:
        cell = Cell(model.name, group.images, connections, group.png)
        seconds = max(plan.seconds, min(_LONGEST_S, math.ceil(_TURNS * connections / group.limit)))
        try:
            yield Measurement(group.round, contender.key, cell, _sample(contender, model, server, cell, seconds))
        except BenchmarkError as error:
            _tell(f"{contender.title}, {cell}: {error}")
            yield Measurement(group.round, contender.key, cell, None, str(error))


def _sample(contender: Contender, model: Model, server: Running, cell: Cell, seconds: int) -> Sample:
    server.process.settle()
    cpu = server.process.cpu_seconds()
    load = drive(server.port, contender.request(cell), cell.connections, seconds, server.folder)
    used = server.process.cpu_seconds() - cpu
    if load.failed:
        raise BenchmarkError(f"{load.failed} of {load.requests} requests failed")
    sample = sampled(load.requests, load.seconds, used, load.p50_ms, load.p99_ms)
    if not cell.png and load.bytes < load.requests * cell.images * model.image_bytes:
        raise BenchmarkError(f"answers have {load.bytes / load.requests:.0f} bytes, too few for the images")
    return sample


def _tell(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
