"""Forms in memory: a body is bounded already, and the service needs no disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from service.errors import MalformedBodyError
from service.multipart import Reader, read

_MAX_PARTS = 5000


@dataclass
class Part:
    """A part of a form: text, or the content of a file."""

    name: str
    is_file: bool
    content: bytearray = field(default_factory=bytearray)


def read_form(raw: bytes, content_type: str) -> list[Part]:
    """The parts of a form in their order.

    Args:
        raw: The whole body.
        content_type: The header, which has the boundary.

    Raises:
        MalformedBodyError: If it is no form, or ends before it is complete.
    """
    reader = _Parts()
    for _ in read([raw], content_type, reader):
        pass
    return reader.parts


class _Parts(Reader):
    """Collects them."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[Part] = []

    def begin(self, options: Mapping[bytes, bytes]) -> None:
        if b"name" not in options:
            raise MalformedBodyError("a part of the form has no name in its Content-Disposition")
        if len(self.parts) == _MAX_PARTS:
            raise MalformedBodyError(f"the form has more than {_MAX_PARTS} parts")
        name = options[b"name"].decode("utf-8", "replace")
        self.parts.append(Part(name, is_file=b"filename" in options))

    def content(self, piece: bytes) -> None:
        self.parts[-1].content += piece
