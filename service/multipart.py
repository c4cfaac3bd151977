"""multipart/form-data (RFC 7578) as it arrives: what all readers of forms have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import MalformedBodyError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks


class Reader(ABC):
    """Hears of the parts of a form, one after the other."""

    def __init__(self) -> None:
        self.complete = False
        self._header = bytearray()
        self._value = bytearray()
        self._disposition = b""

    @abstractmethod
    def begin(self, options: Mapping[bytes, bytes]) -> None:
        """A part begins.

        Args:
            options: Of its Content-Disposition, such as `name` and `filename`.
        """

    @abstractmethod
    def content(self, piece: bytes) -> None:
        """More of the content of the part that began last."""

    def callbacks(self) -> "MultipartCallbacks":
        """What the parser calls."""
        return {
            "on_part_begin": self._part_begin,
            "on_part_data": self._part_data,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }

    def _part_begin(self) -> None:
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
        self.begin(parse_options_header(self._disposition)[1])

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self.content(data[start:end])

    def _end(self) -> None:
        self.complete = True


def read(chunks: Iterable[bytes], content_type: str, reader: Reader) -> Iterator[None]:
    """Tell a reader what is in a form; yields after each chunk.

    Args:
        chunks: The body, as it arrives.
        content_type: The header, which has the boundary.
        reader: Is told.

    Raises:
        MalformedBodyError: If it is no form, or ends before it is complete.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise MalformedBodyError("the content type is multipart/form-data without a boundary; let your client set it")
    try:
        parser = MultipartParser(boundary, reader.callbacks())
        for chunk in chunks:
            parser.write(chunk)
            yield
    except FormParserError as error:
        raise MalformedBodyError(f"the body is no multipart/form-data: {error}") from error
    if not reader.complete:
        raise MalformedBodyError("the multipart/form-data has no closing boundary; the body may be truncated")
