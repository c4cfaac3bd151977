"""A bell for each worker, which any of them can ring."""

import contextlib
import os
from collections.abc import Sequence
from typing import NamedTuple

_MANY = 1 << 16


class Bell(NamedTuple):
    """The two ends of a pipe that all workers have: a byte in it has been rung and not yet heard.

    It outlives the worker that should hear it, so the one that takes its place hears it too.
    """

    hear: int
    ring: int


def cast_bells(number: int) -> list[Bell]:
    """New bells; none of their ends ever blocks."""
    bells = [Bell(*os.pipe()) for _ in range(number)]
    for end in (end for bell in bells for end in bell):
        os.set_blocking(end, False)
    return bells


def ring(bells: Sequence[Bell]) -> None:
    """Ring each of them once."""
    for bell in bells:
        with contextlib.suppress(BlockingIOError):  # it is full: it rings already
            os.write(bell.ring, b"!")


def has_rung(bell: Bell) -> bool:
    """Whether a bell was rung since the last time that this was asked."""
    try:
        return bool(os.read(bell.hear, _MANY))
    except BlockingIOError:
        return False
