"""multipart/form-data with one file, which may be larger than memory: what is in the file, as it arrives."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import MalformedBodyError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MOST_HEADER_BYTES = 1 << 14  # of the one part
_HINT = "send one file: curl -F file=@images.zip"


def file_of(chunks: Iterable[bytes], content_type: str) -> Iterator[bytes]:
    """The content of the one file in a form.

    Args:
        chunks: The body, as it arrives.
        content_type: The header, which has the boundary.

    Raises:
        MalformedBodyError: If it is no form, has other than one file, or ends before it is complete.
    """
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise MalformedBodyError("the content type is multipart/form-data without a boundary; let your client set it")
    reader = _Reader()
    parser = MultipartParser(boundary, reader.callbacks())
    for chunk in chunks:
        try:
            parser.write(chunk)
        except FormParserError as error:
            raise MalformedBodyError(f"the body is no multipart/form-data: {error}") from error
        yield from reader.taken()
    if not reader.complete:
        raise MalformedBodyError("the multipart/form-data has no closing boundary; the body may be truncated")
    if not reader.files:
        raise MalformedBodyError(f"the form has no file; {_HINT}")


class _Reader:
    """Collects what the parser finds in one chunk."""

    def __init__(self) -> None:
        self.files = 0
        self.complete = False
        self._content: list[bytes] = []
        self._header = bytearray()
        self._value = bytearray()
        self._header_bytes = 0
        self._disposition = b""

    def callbacks(self) -> "MultipartCallbacks":
        return {
            "on_part_data": self._data,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_finished,
            "on_end": self._end,
        }

    def taken(self) -> list[bytes]:
        content, self._content = self._content, []
        return content

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _count(self, size: int) -> None:
        self._header_bytes += size
        if self._header_bytes > _MOST_HEADER_BYTES:
            raise MalformedBodyError(f"the headers within the form have more than {_MOST_HEADER_BYTES} bytes")

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"filename" not in options:
            name = options.get(b"name", b"").decode("utf-8", "replace")[:40]
            raise MalformedBodyError(f"part {name!r} of the form is no file; options belong in the query; {_HINT}")
        self.files += 1
        if self.files > 1:
            raise MalformedBodyError(f"the form has more than one file; {_HINT}")

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _end(self) -> None:
        self.complete = True
