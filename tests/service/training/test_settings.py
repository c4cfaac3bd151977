"""Settings of the jobs' database."""

import pytest
from pydantic import ValidationError

from service.settings import Settings, why_invalid


@pytest.mark.parametrize("url", ["mysql://me:secret@host/db", "secret", "sqlite://", ""])
def test_url_of_another_database_is_refused_without_showing_its_password(url: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Settings(database=url)
    said = why_invalid(refused.value)
    assert said.startswith("database: ")
    assert "sqlite" in said
    assert "secret" not in said


@pytest.mark.parametrize("url", ["sqlite:///a.sqlite", "postgresql://me@host/db", "postgresql+psycopg://host/db"])
def test_url_of_a_database_that_is_known_is_taken(url: str) -> None:
    assert Settings(database=url).database == url


def test_settings_as_text_do_not_show_the_password() -> None:
    assert "secret" not in repr(Settings(database="postgresql://me:secret@host/db"))
