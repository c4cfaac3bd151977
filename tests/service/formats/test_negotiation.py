"""`Accept` as RFC 9110 has it."""

import pytest

from service.errors import NotAcceptableError
from service.formats.negotiation import IMAGE_FORMATS, LATENT_FORMATS, negotiate


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("image/png", "image/png"),
        ("IMAGE/PNG", "image/png"),
        ("image/*", "image/png"),
        ("application/*", "application/json"),
        ("image/webp, image/png", "image/png"),
        ("image/webp, image/png;q=0.9", "image/webp"),
        ("image/webp;q=0.5, */*;q=0.1", "image/webp"),
        ("text/html, image/gif", "image/gif"),
        ("image/*, image/png;q=0", "image/jpeg"),
        ("*/*, application/json;q=0.5", "image/png"),
        ("image/png; charset=utf-8; q=1.0", "image/png"),
        ("nonsense, image/png;q=nan, application/zip;q=0.1", "application/zip"),
        ("application/x-npy", "application/x-npy"),
    ],
)
def test_best_format_is_chosen(accept: str | None, expected: str) -> None:
    assert negotiate(accept, IMAGE_FORMATS) == expected


@pytest.mark.parametrize("accept", ["text/html", "image/png;q=0", "nonsense", "*/*;q=0", "image/tiff, audio/*"])
def test_nothing_acceptable_is_an_error_that_lists_what_there_is(accept: str) -> None:
    with pytest.raises(NotAcceptableError, match="application/x-npy"):
        negotiate(accept, LATENT_FORMATS)
