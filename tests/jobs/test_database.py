"""URLs, files, passwords, and what a transaction does when the connection breaks."""

import logging
import sqlite3
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL, Connection, text
from sqlalchemy.exc import IntegrityError, InterfaceError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jobs.database import Database, open_database, shown
from jobs.errors import DatabaseError, JobNotFoundError
from jobs.ledger import Ledger
from tests.jobs.samples import RESULT, progress, started, states, submitted, worker
from tests.service.support import until
from tests.support.postgres import PASSWORD, PostgresServer


@pytest.mark.parametrize(
    "url",
    ["", "jobs.sqlite", "mysql://u:secret@h/d", "postgresql://u:secret@h:port/d", "sqlite://", "sqlite:///:memory:"],
)
def test_what_is_no_database_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(DatabaseError, match=r"expected sqlite:///path/to/file\.sqlite or postgresql://") as caught:
        open_database(url)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_a_url_is_shown_without_password_and_options() -> None:
    url = URL.create("postgresql", "u", "secret", "h", 5432, "d", {"password": "secret", "sslmode": "require"})
    assert shown(url) == "postgresql://u@h:5432/d"


def test_a_file_is_made_with_its_folder_where_the_process_was_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database = open_database("sqlite:///runs/deep/jobs.sqlite")
    monkeypatch.chdir("/")
    submitted(Ledger(database))
    assert database.path == tmp_path / "runs/deep/jobs.sqlite"
    assert database.path.exists()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(DatabaseError, match=r"folder of sqlite:///.*/runs/jobs\.sqlite cannot be made: "):
        open_database(f"sqlite:///{tmp_path}/runs/jobs.sqlite")


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "jobs.sqlite").write_text("something else " * 100)
    with pytest.raises(DatabaseError, match=r"jobs\.sqlite refuses: file is not a database"):
        open_database(f"sqlite:///{tmp_path}/jobs.sqlite").prepare()


def test_sqlite_is_set_up_for_several_processes_and_power_cuts(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path}/jobs.sqlite")

    def pragma(name: str) -> object:
        return database.read(lambda connection: connection.execute(text(f"PRAGMA {name}")).scalar())

    assert pragma("journal_mode") == "wal"
    assert pragma("busy_timeout") == 10_000
    assert pragma("synchronous") == 2
    assert pragma("foreign_keys") == 1


def test_a_writer_waits_for_another_and_readers_for_nobody(database: Database) -> None:
    ledger = Ledger(database)
    submitted(ledger)
    inside, enough = threading.Event(), threading.Event()

    def hold(connection: Connection) -> None:
        connection.execute(
            text("UPDATE jobs SET priority = 5" if database.path else "UPDATE genserve.jobs SET priority = 5")
        )
        inside.set()
        assert enough.wait(30)

    other = threading.Thread(target=database.write, args=(hold,))
    other.start()
    assert inside.wait(30)
    assert [job.priority for job in ledger.list()] == [0]
    cancelled: list[str] = []
    waits = threading.Thread(target=lambda: cancelled.append(ledger.cancel(ledger.list()[0].id).state))
    waits.start()
    waits.join(0.2)
    assert cancelled == []
    enough.set()
    waits.join(30)
    other.join(30)
    assert cancelled == ["cancelled"]
    assert [job.priority for job in ledger.list()] == [5]


def test_work_that_fails_leaves_nothing_behind(database: Database) -> None:
    ledger = Ledger(database)
    job = started(ledger)

    def half(connection: Connection) -> None:
        connection.execute(text("DELETE FROM " + ("events" if database.path else "genserve.events")))
        raise JobNotFoundError("no")

    with pytest.raises(JobNotFoundError):
        database.write(half)
    assert len(ledger.events(job.id)) == 2


def test_a_fault_of_ours_is_not_called_the_databases(database: Database) -> None:
    table = "schema_version" if database.path else "genserve.schema_version"
    with pytest.raises(IntegrityError):
        database.write(lambda connection: connection.execute(text(f"INSERT INTO {table} VALUES (NULL)")))


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (OperationalError("", None, psycopg.errors.ConnectionTimeout()), True),
        (OperationalError("", None, psycopg.errors.AdminShutdown()), True),
        (OperationalError("", None, psycopg.errors.TooManyConnections()), True),
        (OperationalError("", None, psycopg.errors.LockNotAvailable()), True),
        (OperationalError("", None, psycopg.errors.DeadlockDetected()), True),
        (InterfaceError("", None, psycopg.InterfaceError("the connection is closed")), True),
        (PoolTimeout("every connection is in use"), True),
        (OperationalError("", None, psycopg.errors.InvalidPassword()), False),
        (ProgrammingError("", None, psycopg.errors.UndefinedTable()), False),
        (JobNotFoundError("not the database's"), False),
    ],
    ids=lambda value: type(getattr(value, "orig", value)).__name__,
)
def test_errors_that_time_may_heal_are_told_from_others(error: Exception, passes: bool) -> None:
    assert open_database("postgresql://u@h/d").transient(error) is passes


@pytest.mark.parametrize(
    ("said", "passes"),
    [("database is locked", True), ("database or disk is full", True), ("unable to open database file", False)],
)
def test_errors_of_sqlite_that_time_may_heal_are_told_from_others(tmp_path: Path, said: str, passes: bool) -> None:
    error = OperationalError("", None, sqlite3.OperationalError(said))
    assert open_database(f"sqlite:///{tmp_path}/jobs.sqlite").transient(error) is passes


def test_a_call_whose_answer_was_lost_does_nothing_twice(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every transaction of a write is committed, then the connection breaks before the answer is there."""
    ledger = Ledger(database, patience_s=30.0)
    whole = Database._transaction
    broken = sqlite3.OperationalError("database is locked") if database.path else psycopg.OperationalError("reset")
    lost = 0

    def lose_every_other(self: Database, work, *, write: bool):  # type: ignore[no-untyped-def]
        nonlocal lost
        done = whole(self, work, write=write)
        if write:
            lost += 1
            if lost % 2:
                raise OperationalError("COMMIT", None, broken)
        return done

    monkeypatch.setattr(Database, "_transaction", lose_every_other)
    job = submitted(ledger)
    ledger.register(worker("w-1"))
    running = ledger.start(job.id, 1, "w-1")
    assert running is not None
    ledger.epoch(job.id, running.fence, {"epoch": 1})
    ledger.log(job.id, running.fence, {"message": "once"})
    ledger.picture(job.id, running.fence, b"png", {})
    ledger.progress(job.id, running.fence, progress(), True)
    ledger.release(job.id, running.fence)
    assert ledger.cancel(job.id).state == "cancelled"
    assert ledger.resume(job.id).attempt == 2
    running = ledger.start(job.id, 2, "w-1")
    assert running is not None
    ledger.cancel(job.id)
    ledger.bury("w-1")
    ledger.resume(job.id)
    running = ledger.start(job.id, 3, "w-1")
    assert running is not None
    ledger.finish(job.id, running.fence, "succeeded", result=RESULT)
    events = ledger.events(job.id)
    assert lost > 20
    assert len(ledger.list()) == 1
    assert [event.id for event in events] == list(range(1, len(events) + 1))
    assert [event.kind for event in events if event.kind != "state"] == [
        "epoch",
        "log",
        "picture",
        "progress",
        "result",
    ]
    assert states(events) == [
        *("queued", "running", "queued", "cancelled"),
        *("queued", "running", "cancelling", "cancelled"),
        *("queued", "running", "succeeded"),
    ]


def test_a_call_that_outlives_its_database_leaves_no_connection(
    postgres_server: PostgresServer, postgres_url: str
) -> None:
    """As when a server hangs while the service ends: the call's thread comes back when nobody looks any more."""
    name = postgres_url.rpartition("/")[2]
    database = open_database(postgres_url)
    database.prepare()
    begun, go_on = threading.Event(), threading.Event()

    def work(connection: Connection) -> int:
        begun.set()
        assert go_on.wait(60)
        return int(connection.scalar(text("SELECT 1")) or 0)

    with ThreadPoolExecutor(1) as thread:
        call = thread.submit(database.read, work)
        assert begun.wait(60)
        database.close()
        go_on.set()
        assert call.result(60) == 1
        until(lambda: _connections(postgres_server, name) == 0)


def _connections(server: PostgresServer, name: str) -> int:
    return int(server.run(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'")[0][0])


def test_a_password_comes_from_a_file(postgres_server: PostgresServer, postgres_url: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD + "\n")
    name = postgres_url.rpartition("/")[2]
    database = open_database(postgres_server.url(name, password=None), password_file=tmp_path / "password")
    Ledger(database).ping()
    with psycopg.connect(database.secret_url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    database.close()


def test_a_password_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(
        DatabaseError, match=r"password of postgresql://u@h/d cannot be read from .*/none: No such file"
    ):
        open_database("postgresql://u@h/d", password_file=tmp_path / "none")


def test_the_password_is_in_no_message_and_no_log(
    postgres_server: PostgresServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    wrong = "not-the-password"
    shown_texts: list[str] = []
    for url in (postgres_server.url(password=wrong), f"postgresql://u:{wrong}@127.0.0.1:1/d"):
        database = open_database(url)
        with pytest.raises(DatabaseError, match=r"postgresql://\w+@127\.0\.0\.1:\d+/\w+ cannot be used now") as caught:
            Ledger(database, patience_s=0.3).ping()
        shown_texts += [repr(database), "".join(traceback.format_exception(caught.value))]
    (tmp_path / "password").write_bytes(b"\xff" + wrong.encode())
    with pytest.raises(DatabaseError, match="it is not UTF-8") as undecoded:
        open_database("postgresql://u@h/d", password_file=tmp_path / "password")
    shown_texts += [caplog.text, str(undecoded.value)]
    assert [text for text in shown_texts if wrong in text] == []


def test_the_password_is_left_out_of_what_the_server_says(postgres_url: str) -> None:
    database = open_database(postgres_url)
    statement = text(f'SELECT * FROM "{PASSWORD}"'.replace(":", r"\:"))
    with pytest.raises(DatabaseError, match=r'refuses: relation "\*\*\*" does not exist'):
        database.read(lambda connection: connection.execute(statement))
    database.close()


def test_a_role_without_rights_is_told_so(postgres_server: PostgresServer, postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    postgres_server.run("DROP ROLE IF EXISTS guest")
    postgres_server.run("CREATE ROLE guest LOGIN PASSWORD 'guest'")
    guest = open_database(f"postgresql://guest:guest@127.0.0.1:{postgres_server.port}/{name}")
    with pytest.raises(DatabaseError, match=r"refuses: permission denied for database"):
        guest.prepare()
    guest.close()
