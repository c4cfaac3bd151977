"""This worker and the others: who they are, how they do, and whether all serve the same."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from service.team.bells import Bell, has_rung, ring
from service.team.board import Board, Note

SILENCE_S = 5.0  # a worker writes a note every second, unless its event loop hangs
_LOOK_S = 0.01


@dataclass(frozen=True)
class State:
    """What a worker says of itself; see `Note`."""

    ready: bool
    reason: str
    seen: float
    aliases: str


class Team:
    """The workers of one service, from the view of one of them. Lives on its event loop.

    Args:
        board: Where each of them says how it does.
        place: Of this worker.
        bells: Of all of them, by place; empty if this one is alone.
    """

    def __init__(self, board: Board, place: int = 0, bells: Sequence[Bell] = ()) -> None:
        self._board = board
        self._place = place
        self._own = bells[place] if bells else None
        self._others = [bell for index, bell in enumerate(bells) if index != place]
        self._listening = False

    @classmethod
    def of_one(cls) -> "Team":
        """A service that is one process."""
        return cls(Board(1))

    def begin_to_listen(self, state: State) -> bool:
        """Say that clients may reach this worker from now on; returns whether it must look at the store before.

        A worker that changes the store rings first, and then reads who listens. So either it finds this note and waits
        for this worker, or its bell has been rung by now.
        """
        self._listening = True
        self.tell(state)
        return self._own is not None and has_rung(self._own)

    def end_listening(self, state: State) -> None:
        """Say that no new client can reach this worker any more."""
        self._listening = False
        self.tell(state)

    def tell(self, state: State) -> None:
        """Say how this worker does; at least once a second, or the others take it to hang."""
        note = Note(
            pid=os.getpid(),
            listening=self._listening,
            ready=state.ready,
            reason=state.reason,
            written=time.monotonic(),
            seen=state.seen,
            aliases=state.aliases,
        )
        self._board.write(self._place, note)

    def tell_busy(self, lanes: int) -> None:
        """See Neighbours."""
        self._board.tell_busy(self._place, lanes)

    def busy(self) -> int:
        """See Neighbours."""
        return self._board.busy(self._place)

    def hear(self, called: Callable[[], None]) -> None:
        """Call back whenever another worker rings."""
        own = self._own
        if own is None:
            return

        def heard() -> None:
            if has_rung(own):
                called()

        asyncio.get_running_loop().add_reader(own.hear, heard)

    def stop_hearing(self) -> None:
        """Call back no more."""
        if self._own is not None:
            asyncio.get_running_loop().remove_reader(self._own.hear)

    def ring(self) -> None:
        """Let all others look at the store now."""
        ring(self._others)

    def trouble(self) -> str | None:
        """Why another worker that listens, or that the service has begun to start, cannot serve; None if all can."""
        if self._board.awaited:
            return "not all workers have loaded the models yet; those that have answer requests"
        for place, note in self._listeners():
            if not note.ready:
                return f"{_name(place, note)}: {note.reason}"
            if _is_silent(note):
                return _silence(place, note)
        return None

    async def agree(self, seen: float, aliases: Callable[[], str], until: float) -> list[str]:
        """Wait until all other workers that listen serve the store as this one does; but not for one that hangs.

        Args:
            seen: They must have looked at the store since (monotonic seconds).
            aliases: What aliases mean here, at the time when it is asked.
            until: When to give up (monotonic seconds).

        Returns:
            Which of them do not, and why; empty if all do.
        """
        while late := [(place, note) for place, note in self._listeners() if _differs(note, seen, aliases())]:
            if time.monotonic() >= until or all(_is_silent(note) for _, note in late):
                break
            await asyncio.sleep(_LOOK_S)
        return [_why_late(place, note, seen) for place, note in late]

    def _listeners(self) -> Iterator[tuple[int, Note]]:
        for place in range(self._board.places):
            note = self._board.read(place) if place != self._place else None
            if note is not None and note.listening:
                yield place, note


def _differs(note: Note, seen: float, aliases: str) -> bool:
    return note.seen < seen or note.aliases != aliases


def _why_late(place: int, note: Note, seen: float) -> str:
    if _is_silent(note):
        return _silence(place, note)
    if note.seen < seen:
        return f"{_name(place, note)} has not yet loaded the store as it is now"
    return f"{_name(place, note)} has looked, but cannot load what an alias means; its log says why"


def _is_silent(note: Note) -> bool:
    return time.monotonic() - note.written > SILENCE_S


def _silence(place: int, note: Note) -> str:
    return f"{_name(place, note)} hangs: it was last heard of {time.monotonic() - note.written:.0f} s ago"


def _name(place: int, note: Note) -> str:
    return f"worker {place + 1} (process {note.pid})"
