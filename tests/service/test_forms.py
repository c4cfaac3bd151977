"""Forms as clients send them, and as they do not."""

import pytest

from service.errors import MalformedBodyError
from service.forms import read_form

TYPE = "multipart/form-data; boundary=b"
GOOD = (
    b'--b\r\nContent-Disposition: form-data; name="n"\r\n\r\n3\r\n'
    b'--b\r\nContent-Disposition: form-data; name="images"; filename="a.png"\r\nContent-Type: image/png\r\n\r\n'
    b"\x89PNG\r\n--\r\n--b--\r\n"
)


def test_parts_come_in_their_order_with_their_content() -> None:
    parts = read_form(GOOD, TYPE)
    assert [(part.name, part.is_file, bytes(part.content)) for part in parts] == [
        ("n", False, b"3"),
        ("images", True, b"\x89PNG\r\n--"),
    ]


def test_empty_form_has_no_parts() -> None:
    assert read_form(b"--b--\r\n", TYPE) == []


@pytest.mark.parametrize("end", range(1, len(GOOD) - 4))
def test_truncated_form_is_refused(end: int) -> None:
    with pytest.raises(MalformedBodyError):
        read_form(GOOD[:end], TYPE)


@pytest.mark.parametrize("content_type", ["multipart/form-data", "multipart/form-data; boundary=", TYPE + "c"])
def test_form_without_its_boundary_is_refused(content_type: str) -> None:
    with pytest.raises(MalformedBodyError):
        read_form(GOOD, content_type)


def test_part_without_name_is_refused() -> None:
    with pytest.raises(MalformedBodyError, match="no name"):
        read_form(b"--b\r\nContent-Disposition: form-data\r\n\r\n3\r\n--b--\r\n", TYPE)


def test_form_of_very_many_parts_is_refused() -> None:
    with pytest.raises(MalformedBodyError, match="5000"):
        read_form(GOOD.split(b'--b\r\nContent-Disposition: form-data; name="images"')[0] * 5001 + b"--b--\r\n", TYPE)
