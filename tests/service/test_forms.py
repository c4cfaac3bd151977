"""Forms as clients send them, and as they do not."""

import pytest

from service.errors import MalformedBodyError
from service.forms import read_form
from service.training.data_form import file_of

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


def test_part_whose_headers_have_no_end_is_refused() -> None:
    with pytest.raises(MalformedBodyError, match="header"):
        read_form(GOOD[:-9] + b"\r\n--b\r\nX: " + b"y" * 20_000 + b"\r\n\r\n\r\n--b--\r\n", TYPE)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_file_is_the_same_in_whatever_pieces_its_form_arrives(size: int) -> None:
    form = b"--b" + GOOD.split(b"--b", 2)[2]
    pieces = [form[start : start + size] for start in range(0, len(form), size)]
    assert b"".join(file_of(pieces, TYPE)) == b"\x89PNG\r\n--"
