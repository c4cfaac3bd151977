"""Responses as bytes that are ready to go out."""

from starlette.responses import Response

WITHOUT_BODY = "genserve.head"  # in the scope of a request for the head alone, which is answered as GET


class Answer(Response):
    """A whole body under a head that is bytes already: the usual way looks through each header of each answer.

    Attributes:
        head: Lines of headers, each with its line end.
    """

    def __init__(self, content: bytes, media_type: str, head: bytes = b"", status: int = 200) -> None:
        self.status_code = status
        self.body: bytes = content
        self.background = None
        self.head = b"content-type: %b\r\ncontent-length: %d\r\n%b" % (media_type.encode(), len(content), head)

    @property
    def raw_headers(self) -> list[tuple[bytes, bytes]]:  # type: ignore[override]
        """The head as ASGI has it."""
        lines = (line.partition(b": ") for line in self.head.split(b"\r\n")[:-1])
        return [(name, value) for name, _, value in lines]
