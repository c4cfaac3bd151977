"""Notices over PostgreSQL."""

import logging
import queue
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from jobs import notify
from jobs.database import open_database
from jobs.ledger import Ledger
from jobs.notify import CHANNEL, Listener, Notice, announce_published
from tests.jobs.samples import submitted
from tests.support.postgres import PostgresServer


def test_a_listener_hears_of_publications_and_events(postgres_url: str) -> None:
    heard: queue.Queue[Notice] = queue.Queue()
    database = open_database(postgres_url)
    with Listener(postgres_url, heard.put):
        assert heard.get(timeout=60) == Notice(kind="missed"), "it has just begun to listen"
        job = submitted(Ledger(database))
        assert heard.get(timeout=60) == Notice(kind="job", job=job.id)
        announce_published(database, "tiny", 3)
        assert heard.get(timeout=60) == Notice(kind="published", name="tiny", version=3)
    announce_published(database, "tiny", 4)
    assert heard.empty()
    database.close()


def test_what_did_not_happen_is_not_announced(postgres_url: str) -> None:
    heard: queue.Queue[Notice] = queue.Queue()
    database = open_database(postgres_url)
    ledger = Ledger(database)
    job = ledger.cancel(submitted(ledger).id)
    with Listener(postgres_url, heard.put):
        heard.get(timeout=60)
        with pytest.raises(Exception, match="only a job that is queued or running"):
            ledger.cancel(job.id)
        announce_published(database, "tiny", 1)
        assert heard.get(timeout=60).kind == "published"
    database.close()


def test_a_listener_goes_on_after_an_error_of_its_callback_and_after_others_notices(
    postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    heard: queue.Queue[Notice] = queue.Queue()

    def fail(notice: Notice) -> None:
        heard.put(notice)
        raise RuntimeError("a catalog that cannot be read")

    database = open_database(postgres_url)
    with caplog.at_level(logging.ERROR), Listener(postgres_url, fail):
        heard.get(timeout=60)
        database.write(lambda connection: connection.execute(text(f"NOTIFY {CHANNEL}, 'something else'")))
        announce_published(database, "tiny", 1)
        assert heard.get(timeout=60).kind == "published"
    assert "a catalog that cannot be read" in caplog.text
    database.close()


def test_a_listener_whose_server_hangs_can_be_stopped(
    own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = threading.Event()

    def execute(connection: psycopg.Connection[Any], query: str, *rest: Any) -> Any:
        if query == "SELECT 1":
            asked.set()
        return original(connection, query, *rest)

    original = psycopg.Connection.execute
    monkeypatch.setattr(psycopg.Connection, "execute", execute)
    monkeypatch.setattr(notify, "_IDLE_S", 0.1)
    heard: queue.Queue[Notice] = queue.Queue()
    listener = Listener(own_postgres.url(), heard.put)
    listener.start()
    heard.get(timeout=60)
    with own_postgres.frozen():
        asked.clear()
        assert asked.wait(60)
        thread, stopper = listener._thread, threading.Thread(target=listener.stop, daemon=True)
        stopper.start()
        stopper.join(30)
        assert not stopper.is_alive()
        assert thread is not None
        assert not thread.is_alive()
    with listener:
        assert heard.get(timeout=60).kind == "missed", "it can be started again"


def test_on_sqlite_there_are_no_notices_and_nobody_waits_for_them(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    heard: list[Notice] = []
    listener = Listener(url, heard.append)
    assert not listener.active
    with listener:
        announce_published(open_database(url), "tiny", 1)
    assert heard == []


def test_a_listener_that_cannot_connect_warns_once_without_the_password(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), Listener("postgresql://u:secret@127.0.0.1:1/d", print) as listener:
        assert listener.active
        listener._stop.wait(0.5)
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == [
        "no notices from postgresql://u@127.0.0.1:1/d: OperationalError"
    ]
    assert "secret" not in caplog.text
