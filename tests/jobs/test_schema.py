"""The tables: made once, and refused where another version made them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Connection, insert, select, text, update

from jobs import schema
from jobs.database import Database, open_database
from jobs.errors import SchemaError
from jobs.ledger import Ledger
from jobs.tables import VERSION, schema_version
from tests.jobs.processes import at_once, open_and_order
from tests.jobs.samples import order, submitted, worker
from tests.support.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database that no other test uses, as these break it."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.sqlite"
    return str(request.getfixturevalue("postgres_url"))


def set_version(database: Database, version: int) -> None:
    database.write(lambda connection: connection.execute(update(schema_version).values(version=version)))


def test_processes_that_open_an_empty_database_at_once_make_the_tables_once(url: str) -> None:
    ids = at_once(open_and_order, [(url,)] * 3)
    database = open_database(url)
    assert {job.id for job in Ledger(database).list()} == set(ids)
    rows = database.read(lambda connection: connection.execute(select(schema_version.c.version)).scalars().all())
    assert rows == [VERSION]
    database.close()


def test_whoever_comes_while_the_tables_are_made_waits_for_them(url: str) -> None:
    first, second = open_database(url), open_database(url)
    inside, enough = threading.Event(), threading.Event()

    def make_slowly(connection: Connection) -> None:
        schema.prepare(connection, "the database")
        inside.set()
        assert enough.wait(30)

    with ThreadPoolExecutor(2) as threads:
        making = threads.submit(first._transaction, make_slowly, write=True)
        assert inside.wait(30)
        coming = threads.submit(lambda: submitted(Ledger(second)))
        with pytest.raises(TimeoutError):
            coming.result(0.3)
        enough.set()
        making.result(30)
        assert Ledger(first).get(coming.result(30).id).state == "queued"


def test_tables_of_a_newer_program_are_refused_and_left_alone(database: Database, url: str) -> None:
    job = submitted(Ledger(database))
    set_version(database, VERSION + 98)
    older = open_database(url)
    with pytest.raises(
        SchemaError, match=rf"has tables of version {VERSION + 98}, this program knows up to {VERSION};"
    ):
        Ledger(older, patience_s=60.0).submit(order())
    assert [found.id for found in Ledger(database).list()] == [job.id]
    older.close()


def test_tables_of_no_version_are_refused(database: Database, url: str) -> None:
    database.write(lambda connection: connection.execute(insert(schema_version).values(version=VERSION)))
    with pytest.raises(SchemaError, match="has 2 rows in schema_version, expected one"):
        open_database(url).prepare()


def test_older_tables_are_migrated_once(database: Database, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    set_version(database, VERSION - 1)
    calls: list[int] = []
    monkeypatch.setitem(schema.MIGRATIONS, VERSION - 1, lambda _: calls.append(VERSION - 1))
    for _ in range(2):
        opened = open_database(url)
        opened.prepare()
        opened.close()
    assert calls == [VERSION - 1]


def test_tables_of_version_1_learn_of_permissions_and_starts(database: Database, url: str) -> None:
    job = submitted(Ledger(database))
    table = "jobs" if database.dialect == "sqlite" else "genserve.jobs"
    for column in ("publishing", "starts", "reached"):
        drop = text(f"ALTER TABLE {table} DROP COLUMN {column}")
        database.write(lambda connection, drop=drop: connection.execute(drop))
    set_version(database, 1)
    ledger = Ledger(open_database(url))
    ledger.register(worker("w-1"))
    taken = ledger.start(job.id, 1, "w-1")
    assert taken is not None
    assert ledger.permit(job.id, taken.fence) == "run"
    ledger.database.close()


def test_every_older_version_has_a_way_to_the_next() -> None:
    assert sorted(schema.MIGRATIONS) == list(range(1, VERSION))


def test_a_role_that_may_make_no_schema_uses_one_that_was_made_for_it(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres_server.run("DROP ROLE IF EXISTS tenant")
    postgres_server.run("CREATE ROLE tenant LOGIN PASSWORD 'tenant'")
    postgres_server.run("CREATE SCHEMA genserve AUTHORIZATION tenant", name)
    tenant = open_database(f"postgresql://tenant:tenant@127.0.0.1:{postgres_server.port}/{name}")
    submitted(Ledger(tenant))
    tenant.close()
