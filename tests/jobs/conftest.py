"""A ledger on each kind of database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.database import Database, open_database
from jobs.ledger import Ledger
from tests.support.postgres import PostgresServer


@pytest.fixture(scope="session")
def shared_database(postgres_server: PostgresServer) -> Iterator[tuple[PostgresServer, str]]:
    """A database on PostgreSQL that is emptied after each test: faster than one for each."""
    with postgres_server.database() as name:
        yield postgres_server, name


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/folder/jobs.sqlite"
        return
    server, name = request.getfixturevalue("shared_database")
    yield server.url(name)
    server.run("TRUNCATE genserve.pictures, genserve.events, genserve.jobs, genserve.workers", name)


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """The database, open."""
    opened = open_database(url)
    opened.prepare()
    yield opened
    opened.close()


@pytest.fixture
def ledger(database: Database) -> Ledger:
    """An impatient ledger, as the service has it."""
    return Ledger(database)
