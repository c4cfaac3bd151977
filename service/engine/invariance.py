"""Row i of a batch must have the same bytes in every batch: find the padding that makes it so.

Kernels may choose another order of summation for another number of rows (a batch of one goes through a
matrix-vector product, for example). So each graph is tried once, when it is loaded: if its rows differ between batch
sizes, batches are padded by the cheapest rule that helps. docs/decisions/0002-batch-invariance.md has the measurements.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.runtimes.base import Arrays, Runtime

Array = NDArray[Any]

_SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 12, 16)  # around the widths of vector registers and of kernels' tiles
_OFFSETS = 3  # which of the inputs comes first


@dataclass(frozen=True)
class Padding:
    """Batches have at least `least` rows, a multiple of `multiple`, and one of the sizes of `ladder` that suffices."""

    least: int = 1
    multiple: int = 1
    ladder: tuple[int, ...] = ()

    def rows(self, n: int) -> int:
        """Rows of a batch that has `n` wanted ones."""
        rows = max(self.least, -(-n // self.multiple) * self.multiple)
        if not self.ladder:
            return rows
        return next((size for size in self.ladder if size >= rows and size % self.multiple == 0), rows)


NO_PADDING = Padding()
_RULES = (NO_PADDING, Padding(2), Padding(4), Padding(8), Padding(4, 4), Padding(8, 8), Padding(16, 16))


class NotInvariantError(Exception):
    """No padding makes a row's bytes independent of its batch."""


def find_padding(runtime: Runtime, inputs: Arrays, outputs: Sequence[str], max_batch_size: int) -> Padding:
    """The cheapest padding with which each row's bytes depend on that row alone.

    It does not depend on `max_batch_size` unless larger batches have yet other kernels: two services with other limits
    draw the same images.

    Args:
        runtime: Runs the graph.
        inputs: A few rows to try with; batches are made of them, in turns.
        outputs: All outputs of the graph.
        max_batch_size: Largest batch that will be run.

    Raises:
        NotInvariantError: If no rule helps.
    """
    for rule in (replace(rule, ladder=tuple(runtime.ladder)) for rule in _RULES):
        sizes = sorted({size for size in (*_SIZES, rule.rows(max_batch_size)) if rule.rows(size) == size})
        if _rows_agree(runtime, inputs, outputs, sizes):
            return rule
    raise NotInvariantError(f"rows differ between batches even if padded to a multiple of {_RULES[-1].multiple}")


def _rows_agree(runtime: Runtime, inputs: Arrays, outputs: Sequence[str], sizes: Sequence[int]) -> bool:
    rows = len(next(iter(inputs.values())))
    known: dict[tuple[str, int], bytes] = {}
    for size in sizes:
        for offset in range(min(rows, _OFFSETS)):
            which = (np.arange(size) + offset) % rows
            found = runtime.run({name: np.ascontiguousarray(array[which]) for name, array in inputs.items()}, outputs)
            for name, array in found.items():
                for row, content in zip(which.tolist(), array, strict=True):
                    if known.setdefault((name, row), content.tobytes()) != content.tobytes():
                        return False
    return True
