"""What the parent of several workers holds for them: the board, and their bells."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel

from service.errors import StartupError
from service.team.bells import Bell, cast_bells
from service.team.board import Board
from service.team.team import Team


class Seat(BaseModel):
    """A worker's place in the team, in a form that can be sent to it; its descriptors are inherited.

    Attributes:
        board: Descriptor of the board's file.
        bells: Of all workers.
        place: Of this one.
    """

    board: int
    bells: list[Bell]
    place: int

    def take(self) -> Team:
        """In the worker: its view of the team."""
        return Team(Board(len(self.bells), self.board), self.place, self.bells)


@dataclass(frozen=True)
class Gathering:
    """Board and bells, while the service lives.

    Attributes:
        board: To clear the places of those who have ended.
        file: Descriptor of its file.
        bells: Of all workers.
    """

    board: Board
    file: int
    bells: list[Bell]

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Every worker must inherit these."""
        return (self.file, *(end for bell in self.bells for end in bell))

    def seat(self, place: int) -> Seat:
        """What a worker is told of it."""
        return Seat(board=self.file, bells=self.bells, place=place)


@contextlib.contextmanager
def gather(workers: int) -> Iterator[Gathering]:
    """Board and bells for so many workers.

    Raises:
        StartupError: If the system gives no memory or no pipes for it.
    """
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 (closed below)
        file.truncate(Board.size(workers))
        gathering = Gathering(Board(workers, file.fileno()), file.fileno(), cast_bells(workers))
    except OSError as error:
        raise StartupError(f"workers need a temporary file and pipes in common: {error}; set workers to 1") from error
    try:
        yield gathering
    finally:
        file.close()
        for end in (end for bell in gathering.bells for end in bell):
            os.close(end)
