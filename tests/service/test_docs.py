"""The pages name every setting, path and code."""

import re
from pathlib import Path

import pytest

from service import errors
from service.settings import Settings
from tests.service.support import Client

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_has_its_row_with_default_and_variable(name: str) -> None:
    pattern = rf"^\| `{name}` \| `GENSERVE_{name.upper()}` \| (.+?) \| .+ \|$"
    row = re.search(pattern, (DOCS / "settings.md").read_text(), re.M)
    assert row is not None, f"docs/settings.md has no row for {name}"
    default = Settings.model_fields[name].default
    shown = str(default).lower() if isinstance(default, bool) else default
    assert row[1] == ("none" if default is None else f"`{shown}`")


def test_settings_page_has_no_row_of_a_setting_that_is_gone() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `GENSERVE_", (DOCS / "settings.md").read_text(), re.M)
    assert set(rows) == set(Settings.model_fields)


def test_every_path_has_its_heading(client: Client) -> None:
    page = (DOCS / "api.md").read_text()
    for path, operations in client.get("/openapi.json").json()["paths"].items():
        for method in operations:
            assert re.search(rf"^#+ .*`{method.upper()} {re.escape(path)}`", page, re.M), f"{method} {path}"


def test_every_code_has_its_row_with_its_status() -> None:
    page = (DOCS / "api.md").read_text()
    found = [errors.ServiceError]
    for error in found:
        found += error.__subclasses__()
        if error is not errors.RequestError:
            assert f"| `{error.code}` | {error.status} |" in page, error.code
            assert f"{error.status} {error.code}" in (errors.__doc__ or "")
