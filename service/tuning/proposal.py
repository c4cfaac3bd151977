"""Which of the measured setups to choose."""

from collections.abc import Sequence
from dataclasses import dataclass

from service.tuning.measure import Point

_TIE = 1.03  # closer than what two measurements of the same thing differ by


@dataclass(frozen=True)
class Proposal:
    """The chosen point, and whether it meets the target."""

    point: Point
    meets: bool


def propose(points: Sequence[Point], target_s: float) -> Proposal:
    """The most images per second among the points whose predicted p99 is at most the target.

    Among those within 3 % of the most, the one with the least p99. If none meets the target, the one with the least p99
    of all.

    Args:
        points: At least one.
        target_s: Predicted 99th percentile to meet, in seconds.
    """
    fitting = [point for point in points if point.predicted_p99_s <= target_s]
    if not fitting:
        return Proposal(min(points, key=_haste), meets=False)
    most = max(point.images_per_s for point in fitting)
    return Proposal(min((point for point in fitting if point.images_per_s * _TIE >= most), key=_haste), meets=True)


def _haste(point: Point) -> tuple[float, float]:
    return point.predicted_p99_s, -point.images_per_s
