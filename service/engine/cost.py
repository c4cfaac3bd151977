"""What a run costs on this device, as a function of its rows, fitted to the runs that happen."""

from collections.abc import Iterable

_MEMORY = 0.95  # weight of the past at each run: about the last twenty count
_SPREAD = 0.05  # how far sizes must differ, as a share of their mean, before the slope follows them and not the shape
_SURPRISE = 8.0  # a run counts as at most so many times what was expected: a machine that stalls once is no rule


class CostModel:
    """Seconds of a run, `fixed + per_row * rows`, by least squares that forget exponentially.

    Runs of one size say nothing of the slope. As far as sizes do not differ, the ratio between the two parts stays
    that of the first measurements, made before the service opens, and only their scale follows.

    Not safe in threads: the lanes' lock guards `learn`; what is read without it is at most one run old.

    Args:
        measured: Rows and seconds of a few runs.
    """

    def __init__(self, measured: Iterable[tuple[int, float]] = ()) -> None:
        self.fixed = 0.0
        self.per_row = 0.0
        self._shape = (0.0, 1.0)
        self._weight = self._rows = self._seconds = self._rows2 = self._product = 0.0
        for rows, seconds in measured:
            self._add(rows, seconds)
            self._fit()
        if self.fixed or self.per_row:
            self._shape = (self.fixed, self.per_row)

    def seconds(self, rows: int) -> float:
        """Expected lane time of one run; 0 as long as nothing has run."""
        return self.fixed + self.per_row * rows

    def runs(self, rows: int, largest: int) -> float:
        """Expected lane time of so many rows, in full batches."""
        return self.fixed * -(-rows // largest) + self.per_row * rows

    def learn(self, rows: int, seconds: float) -> None:
        """A run of so many rows, padding included, took `seconds`."""
        expected = self.fixed + self.per_row * rows
        self._add(rows, min(seconds, _SURPRISE * expected) if expected else seconds)
        self._fit()

    def _add(self, rows: int, seconds: float) -> None:
        self._weight = _MEMORY * self._weight + 1.0
        self._rows = _MEMORY * self._rows + rows
        self._seconds = _MEMORY * self._seconds + seconds
        self._rows2 = _MEMORY * self._rows2 + rows * rows
        self._product = _MEMORY * self._product + rows * seconds

    def _fit(self) -> None:
        rows, seconds = self._rows / self._weight, self._seconds / self._weight
        variance = max(0.0, self._rows2 / self._weight - rows * rows)
        covariance = self._product / self._weight - rows * seconds
        fixed, per_row = self._shape
        by_shape = per_row * seconds / (fixed + per_row * rows)
        prior = (_SPREAD * rows) ** 2
        slope = (covariance + prior * by_shape) / (variance + prior)
        self.per_row = min(max(slope, 0.0), seconds / rows)  # neither part is below zero
        self.fixed = max(0.0, seconds - self.per_row * rows)
