"""A board in shared memory, on which each worker has a place for a note about itself.

Nobody takes a lock: a note has one writer, and its checksum tells a reader who came in the middle of a change. The
memory has no name in any file system, so nothing of it is left behind.
"""

import mmap
import struct
import zlib
from dataclasses import asdict, dataclass

import orjson

_HEAD = struct.Struct("=II")  # checksum and length of the JSON that follows
_PLACE_BYTES = 4096
_LONGEST_REASON = 500  # characters; JSON takes up to six bytes for one
_TRIES = 100


@dataclass(frozen=True)
class Note:
    """How things stand in one worker. Times are seconds of the monotonic clock, which all processes share.

    Attributes:
        pid: Whose note it is.
        listening: Clients may reach it.
        ready: It can serve requests.
        reason: Why it is ready, or why not.
        written: When the note was.
        seen: It serves the store as it was at this moment, or later.
        aliases: Digest of what all aliases mean to it.
    """

    pid: int
    listening: bool
    ready: bool
    reason: str
    written: float
    seen: float
    aliases: str


class Board:
    """Places for notes.

    Args:
        places: How many.
        file: Descriptor of an open file of `Board.size(places)` bytes; left out, the board is this process's own.
    """

    def __init__(self, places: int, file: int = -1) -> None:
        self.places = places
        self._memory = mmap.mmap(file, self.size(places))

    @staticmethod
    def size(places: int) -> int:
        """Bytes of a board: behind the places one that says whether workers are awaited."""
        return places * _PLACE_BYTES + 1

    @property
    def awaited(self) -> bool:
        """Whether the service has just begun, and some of its workers are not there yet."""
        return bool(self._memory[-1])

    @awaited.setter
    def awaited(self, awaited: bool) -> None:
        self._memory[-1] = awaited

    def write(self, place: int, note: Note) -> None:
        """Put a note in place of the one before."""
        content = orjson.dumps(asdict(note) | {"reason": note.reason[:_LONGEST_REASON]})
        packed = _HEAD.pack(zlib.crc32(content), len(content)) + content
        begin = place * _PLACE_BYTES
        self._memory[begin : begin + len(packed)] = packed

    def tell_busy(self, place: int, lanes: int) -> None:
        """Say how many lanes of a worker run a long batch; a byte needs no checksum."""
        self._memory[(place + 1) * _PLACE_BYTES - 1] = min(lanes, 255)

    def busy(self, besides: int) -> int:
        """Lanes of all workers but one that run a long batch."""
        lanes = self._memory[_PLACE_BYTES - 1 :: _PLACE_BYTES]  # of whole places: the byte behind them is left out
        return sum(lanes) - lanes[besides]

    def clear(self, place: int) -> None:
        """Take the note away: its worker has ended."""
        begin = place * _PLACE_BYTES
        self._memory[begin : begin + _PLACE_BYTES] = bytes(_PLACE_BYTES)

    def read(self, place: int) -> Note | None:
        """The note of a place; None if there is none.

        One that stays unreadable was cut short when its writer was stopped: that worker listens, and is not ready.
        """
        for _ in range(_TRIES):
            raw = self._memory[place * _PLACE_BYTES : (place + 1) * _PLACE_BYTES]
            checksum, length = _HEAD.unpack_from(raw)
            content = raw[_HEAD.size : _HEAD.size + length]
            if not length:
                return None
            if zlib.crc32(content) == checksum:
                return Note(**orjson.loads(content))
        return Note(0, listening=True, ready=False, reason="its note cannot be read", written=0, seen=0, aliases="")
