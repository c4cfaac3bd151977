"""Other processes whose lanes run on the same cores."""

from typing import Protocol


class Neighbours(Protocol):
    """What they and this process tell each other. Called from any thread, for each batch: quick, and never waits."""

    def tell_busy(self, lanes: int) -> None:
        """So many lanes of this process run a long batch."""

    def busy(self) -> int:
        """Lanes of all others that run a long batch."""


class NoNeighbours:
    """This process is alone."""

    def tell_busy(self, lanes: int) -> None:
        """See Neighbours."""

    def busy(self) -> int:
        """See Neighbours."""
        return 0
