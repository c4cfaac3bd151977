"""Which workers hang: the notes that they should write every second stay as they are."""

from service.team.board import Board


class Pulse:
    """Counts looks and not seconds: who was suspended together with the workers must not take them to hang.

    Args:
        board: Of the workers.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._known: dict[int, tuple[float, int]] = {}  # by process: when its note was written, and looks since

    def look(self) -> dict[int, int]:
        """Looks in a row at which a worker's note was the same, by process id, of all that clients may reach."""
        notes = [note for place in range(self._board.places) if (note := self._board.read(place)) and note.listening]
        before, self._known = self._known, {}
        for note in notes:
            written, looks = before.get(note.pid, (note.written, -1))
            self._known[note.pid] = (note.written, looks + 1 if written == note.written else 0)
        return {pid: looks for pid, (_, looks) in self._known.items()}
