"""Pages of other sites order nothing, send nothing and resume nothing; they can send bodies without a content type."""

from typing import Any

import httpx
import pytest

from tests.bundle.uploads.files import with_image
from tests.service.support import Client
from tests.service.training.support import JOBS, SMALL

DATA = "/training/data"
FOREIGN: list[dict[str, str]] = [
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "cross-site", "origin": "http://test"},
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": "http://["},
    {"origin": "http://evil.example", "host": "http://evil.example"},
]
OWN: list[dict[str, str]] = [
    {},
    {"sec-fetch-site": "same-origin", "origin": "http://test"},
    {"sec-fetch-site": "none"},
    {"origin": "http://test"},
    {"origin": "https://Test", "host": "test:443"},
    {"origin": "http://[::1]:8000", "host": "[::1]:8000"},
]


def refused(response: httpx.Response) -> bool:
    if response.status_code != 422:
        return False
    return response.json()["code"] == "invalid_request" and "another site" in response.json()["detail"]


def changes(client: Client, headers: dict[str, str]) -> list[httpx.Response]:
    """An order, an upload, and all else that changes something; nothing of it is there, if it is refused."""
    calls: list[tuple[str, str, Any]] = [
        ("POST", JOBS, {"json": {"recipe": SMALL}}),
        ("POST", DATA, {"content": with_image("x.png")}),
        ("POST", f"{JOBS}/none/resume", {}),
        ("DELETE", f"{JOBS}/none", {}),
        ("DELETE", f"{DATA}/none", {}),
    ]
    return [client.request(method, path, headers=headers, **options) for method, path, options in calls]


@pytest.mark.parametrize("headers", FOREIGN)
def test_page_of_another_site_changes_nothing(client: Client, headers: dict[str, str]) -> None:
    jobs, sets = client.get(JOBS).json(), client.get(DATA).json()
    assert [refused(answer) for answer in changes(client, headers)] == [True] * 5
    assert (client.get(JOBS).json(), client.get(DATA).json()) == (jobs, sets)


@pytest.mark.parametrize("headers", OWN)
def test_pages_of_the_service_and_programs_are_heard(client: Client, headers: dict[str, str]) -> None:
    assert [answer.status_code for answer in changes(client, headers)] == [202, 201, 404, 404, 404]


def test_reading_is_not_refused(client: Client) -> None:
    for headers in FOREIGN:
        for path in (JOBS, DATA, "/training/recipes", "/training/recipes/schema", "/training/workers"):
            assert client.get(path, headers=headers).status_code == 200
