"""Refusals that stand for a moment: who then asks for the same is refused in the same words.

To find out that a request would be too late, and to say so, takes longer than all else that is done to refuse it, and
under overload several come together (`service.rests`), before anything has changed that would let them in: see
docs/decisions/0016-refusals-that-stand.md.
"""

from typing import NamedTuple

from service.errors import OverloadedError
from service.model import Model
from service.problems import opening

_LONGEST_S = 0.002  # so long, what comes after a rest is taken in together
_OF_THE_BACKLOG = 0.02  # of what the lanes have to do: they cannot run dry meanwhile, unless all who wait leave
_MOST = 64


class Standing(NamedTuple):
    """A refusal.

    Attributes:
        model: That was asked.
        error: Why.
        opening: Of the problem document: all before the request id.
        lines: Of the head: when to come back.
        until: How long it stands, by `time.perf_counter`.
    """

    model: Model
    error: OverloadedError
    opening: bytes
    lines: bytes
    until: float


class StandingRefusals:
    """Those that may stand yet, by what was asked for: how many images, and within how many seconds."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Model, int, float | None], Standing] = {}

    def find(self, model: Model, n: int, seconds: float | None, now: float) -> Standing | None:
        """What stands for this request.

        Args:
            model: That is asked.
            n: For how many images.
            seconds: In which it must be answered; None if nobody minds.
            now: By `time.perf_counter`.
        """
        kept = self._kept.get((model, n, seconds))
        return kept if kept is not None and now < kept.until else None

    def add(
        self, asked: tuple[Model, int, float | None], error: OverloadedError, now: float, backlog_s: float
    ) -> Standing:
        """One that was found just now.

        Args:
            asked: The model, for how many images, and in how many seconds, as for `find`.
            error: What was found.
            now: By `time.perf_counter`.
            backlog_s: Seconds for which the lanes have enough to do.
        """
        if len(self._kept) >= _MOST:
            self._kept.clear()
        until = now + min(_LONGEST_S, _OF_THE_BACKLOG * backlog_s)
        made = self._kept[asked] = Standing(asked[0], error, *opening(error), until)
        return made

    def forget(self) -> None:
        """Hold no model any more."""
        self._kept.clear()
