"""How much of its time an event loop may lose to runs that turned out to be long."""

_SHARE = 0.02
_BURST_S = 1.0  # of such a share that may be lost in one go
_MOST_COUNTED_S = 0.2  # of one run: a machine that stood still is not the graph's fault for ever


class Allowance:
    """A share of the loop's time, by the generic cell rate algorithm (ITU-T I.371). Times are monotonic seconds."""

    def __init__(self) -> None:
        self._until = 0.0

    def is_left(self, now: float) -> bool:
        """Whether more may be lost."""
        return now >= self._until

    def spend(self, now: float, seconds: float) -> None:
        """So much was lost."""
        self._until = max(self._until, now - _BURST_S) + min(seconds, _MOST_COUNTED_S) / _SHARE
