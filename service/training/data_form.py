"""A form with one file, which may be larger than memory: what is in the file, as it arrives."""

from collections.abc import Iterable, Iterator, Mapping

from service.errors import MalformedBodyError
from service.multipart import Reader, read

_HINT = "send one file: curl -F file=@images.zip"


def file_of(chunks: Iterable[bytes], content_type: str) -> Iterator[bytes]:
    """The content of the one file in a form.

    Args:
        chunks: The body, as it arrives.
        content_type: The header, which has the boundary.

    Raises:
        MalformedBodyError: If it is no form, has other than one file, or ends before it is complete.
    """
    reader = _File()
    for _ in read(chunks, content_type, reader):
        yield from reader.taken()
    if not reader.files:
        raise MalformedBodyError(f"the form has no file; {_HINT}")


class _File(Reader):
    """Collects what one chunk has of it."""

    def __init__(self) -> None:
        super().__init__()
        self.files = 0
        self._content: list[bytes] = []

    def taken(self) -> list[bytes]:
        content, self._content = self._content, []
        return content

    def begin(self, options: Mapping[bytes, bytes]) -> None:
        if b"filename" not in options:
            name = options.get(b"name", b"").decode("utf-8", "replace")[:40]
            raise MalformedBodyError(f"part {name!r} of the form is no file; options belong in the query; {_HINT}")
        self.files += 1
        if self.files > 1:
            raise MalformedBodyError(f"the form has more than one file; {_HINT}")

    def content(self, piece: bytes) -> None:
        self._content.append(piece)
