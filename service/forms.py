"""multipart/form-data (RFC 7578), read from memory: a body is bounded already, and the service needs no disk."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import MalformedBodyError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

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
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise MalformedBodyError("the content type is multipart/form-data without a boundary; let your client set it")
    reader = _Reader()
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        parser.write(raw)
        parser.finalize()
    except FormParserError as error:
        raise MalformedBodyError(f"the body is no multipart/form-data: {error}") from error
    if not reader.complete:
        raise MalformedBodyError("the multipart/form-data has no closing boundary; the body may be truncated")
    return reader.parts


class _Reader:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.parts: list[Part] = []
        self.complete = False
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_begin": self._begin,
            "on_part_data": self._data,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._disposition = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise MalformedBodyError("a part of the form has no name in its Content-Disposition")
        if len(self.parts) == _MAX_PARTS:
            raise MalformedBodyError(f"the form has more than {_MAX_PARTS} parts")
        name = options[b"name"].decode("utf-8", "replace")
        self.parts.append(Part(name, is_file=b"filename" in options))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self.parts[-1].content += data[start:end]

    def _end(self) -> None:
        self.complete = True
