"""Medians over rounds. Ratios are taken within a round first, so that a machine that slows down slows both sides."""

from collections.abc import Callable, Sequence
from statistics import median

from benchmarks.cells import Cell, Measurement, Sample, together
from benchmarks.compare import BARE_ALL, BARE_ONE
from benchmarks.contenders import CONTENDERS

Value = Callable[[Sample], float]


class Summary:
    """What a comparison has found, by subject and cell. A subject with a problem in any round has no figures there."""

    def __init__(self, measurements: Sequence[Measurement]) -> None:
        stretches: dict[tuple[str, Cell], dict[int, list[Sample]]] = {}
        self._problems: dict[tuple[str, Cell], str] = {}
        for measurement in measurements:
            place = (measurement.subject, measurement.cell)
            if measurement.sample is None:
                self._problems.setdefault(place, measurement.problem or "not measured")
            else:
                stretches.setdefault(place, {}).setdefault(measurement.round, []).append(measurement.sample)
        self._samples = {
            place: {number: together(samples) for number, samples in rounds.items()}
            for place, rounds in stretches.items()
        }
        self.cells = list(
            dict.fromkeys(measurement.cell for measurement in measurements if measurement.cell.connections)
        )
        seen = {measurement.subject for measurement in measurements}
        self.contenders = [contender for key, contender in CONTENDERS.items() if key in seen]

    def problem(self, subject: str, cell: Cell) -> str | None:
        """Why a subject has no figures in a cell."""
        return self._problems.get((subject, cell))

    def rounds(self, subject: str, cell: Cell) -> dict[int, Sample]:
        """Samples by round; empty if there was a problem in any, or it was never measured."""
        return {} if self.problem(subject, cell) else self._samples.get((subject, cell), {})

    def limit(self, cell: Cell) -> str:
        """Which of the bare loops is faster: one, or one on each core."""
        one, every = (self.value(subject, cell.bare, lambda s: s.rate) for subject in (BARE_ONE, BARE_ALL))
        return BARE_ALL if (every or 0.0) > (one or 0.0) else BARE_ONE

    def value(self, subject: str, cell: Cell, of: Value) -> float | None:
        """Median over rounds; None where there are no figures."""
        found = self.rounds(subject, cell)
        return median(of(sample) for sample in found.values()) if found else None

    def compared(
        self, subject: str, cell: Cell, other: str, other_cell: Cell, combine: Callable[[Sample, Sample], float]
    ) -> float | None:
        """Median over rounds of what combines two samples of the same round; None where either has no figures."""
        ours, theirs = self.rounds(subject, cell), self.rounds(other, other_cell)
        shared = [combine(ours[number], theirs[number]) for number in ours.keys() & theirs.keys()]
        return median(shared) if shared else None

    def share_of_limit(self, subject: str, cell: Cell) -> float | None:
        """Throughput over that of the bare loops."""
        return self.compared(subject, cell, self.limit(cell), cell.bare, lambda one, bare: one.rate / bare.rate)
