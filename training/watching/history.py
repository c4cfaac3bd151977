"""The course of every loss over a whole run, in bounded memory."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

LIMIT = 1024

Point = tuple[float, float]  # step, value


@dataclass
class _Series:
    """Points that are means of `stride` values each, and the values that do not fill a point yet."""

    stride: int = 1
    points: list[Point] = field(default_factory=list)
    rest: list[Point] = field(default_factory=list)

    def add(self, point: Point) -> None:
        self.rest.append(point)
        if len(self.rest) == self.stride:
            self.points.append(_mean(self.rest))
            self.rest = []
        if len(self.points) == LIMIT:  # neighbours become one: the past stays evenly spaced
            self.points = [_mean(self.points[i : i + 2]) for i in range(0, LIMIT, 2)]
            self.stride *= 2

    def go_back(self, step: float) -> None:
        self.points = [point for point in self.points if point[0] < step]
        self.rest = [point for point in self.rest if point[0] < step]


class History:
    """Points by name, evenly spaced however long the run is, fewer than `LIMIT` a series."""

    def __init__(self) -> None:
        self._series: dict[str, _Series] = {}
        self._step = -math.inf

    @property
    def names(self) -> list[str]:
        """Of the series, in the order of their first values."""
        return list(self._series)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Take values of a step; whatever was noted of that step and later ones is forgotten (a run that went
        back). What is no finite number is left out."""
        if step <= self._step:
            for series in self._series.values():
                series.go_back(step)
        self._step = step
        for name, value in values.items():
            if math.isfinite(value):
                self._series.setdefault(name, _Series()).add((step, value))

    def points(self, name: str) -> list[Point]:
        """The points of a series (step, value) in the order of their steps."""
        series = self._series[name]
        return series.points + ([_mean(series.rest)] if series.rest else [])

    def values(self, name: str) -> list[float]:
        """The values of a series in the order of their steps."""
        return [value for _, value in self.points(name)]


def _mean(points: list[Point]) -> Point:
    return math.fsum(step for step, _ in points) / len(points), math.fsum(value for _, value in points) / len(points)
