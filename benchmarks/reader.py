"""Reads answers of HTTP/1.1 as far as a load generator needs them: the cores are the server's."""

_LENGTH = b"content-length:"
_HEAD_END = b"\r\n\r\n"
_STATUS = slice(9, 12)  # HTTP/1.1 200


class Reader:
    """Of one connection, one answer after the other."""

    def __init__(self) -> None:
        self._head = b""
        self._status = 0
        self._missing = 0

    def feed(self, data: bytes) -> int | None:
        """The status of an answer, once all of it has come; else None.

        Args:
            data: What came, and not more than the rest of the answer.
        """
        if self._missing:
            self._missing -= len(data)
        elif not self._begin(data):
            return None
        if self._missing > 0:
            return None
        self._missing = 0
        return self._status

    def _begin(self, data: bytes) -> bool:
        """Whether the head is whole; then status and missing bytes are known."""
        self._head += data
        end = self._head.find(_HEAD_END)
        if end < 0:
            return False
        head = self._head[:end].lower()
        length = int(head.partition(_LENGTH)[2].partition(b"\r\n")[0] or 0)
        self._status = int(head[_STATUS])
        self._missing = length - (len(self._head) - end - len(_HEAD_END))
        self._head = b""
        return True
