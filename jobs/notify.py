"""Notices over PostgreSQL's LISTEN and NOTIFY, so that nobody needs to look every second.

A notice says that there is something to look at; what it is stands in the tables or the store. Notices may be lost with
a connection, so whoever listens also looks now and then. On SQLite there are none.
"""

import contextlib
import logging
import os
import random
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import Connection, func, select

from jobs.database import Database, open_database

if TYPE_CHECKING:
    import psycopg

CHANNEL = "genserve"
_IDLE_S = 30.0  # after so long without a notice the connection is tried
_PAUSE_S = (0.2, 5.0)  # between two tries to connect
_STOP_S = 1.0  # for a callback under way to end; then, for a query to a server that hangs

logger = logging.getLogger(__name__)


class Notice(BaseModel):
    """What happened: a version was published, a job has a new event, or notices may have been missed.

    Attributes:
        kind: `missed` comes after each (re)connection: look at everything.
        name, version: Of what was published.
        job: Id of the job.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["published", "job", "missed"]
    name: str | None = None
    version: int | None = None
    job: str | None = None


def announce_published(database: Database, name: str, version: int, *, patience_s: float = 0.0) -> None:
    """Tell every listener that a version is in the store, or that an alias has moved to it.

    Raises:
        DatabaseError: If the database cannot be reached.
    """
    notice = Notice(kind="published", name=name, version=version)
    if database.dialect == "postgresql":
        database.write(lambda connection: _announce(connection, notice), patience_s)


def announce_job(connection: Connection, job: str) -> None:
    """Tell every listener, once the transaction is committed, that a job has a new event."""
    if connection.dialect.name == "postgresql":
        _announce(connection, Notice(kind="job", job=job))


def _announce(connection: Connection, notice: Notice) -> None:
    connection.execute(select(func.pg_notify(CHANNEL, notice.model_dump_json(exclude_none=True))))


class Listener:
    """Calls back on notices, from a thread of its own, and connects again for as long as it takes.

    Args:
        url: As for `open_database`.
        call: Gets each notice, one at a time; what it raises is logged, and listening goes on.
        password_file: As for `open_database`.

    Raises:
        DatabaseError: If the URL makes no sense. A server that is down is waited for.
    """

    def __init__(self, url: str, call: Callable[[Notice], None], *, password_file: Path | None = None) -> None:
        database = open_database(url, password_file=password_file)
        database.close()
        self._shown = database.shown
        self._url = database.secret_url() if database.dialect == "postgresql" else None
        self._call = call
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._wake: tuple[int, int] | None = None
        self._connection: psycopg.Connection[Any] | None = None

    @property
    def active(self) -> bool:
        """Whether there can be notices: on SQLite there are none, and looking now and then is the only way."""
        return self._url is not None

    def start(self) -> None:
        """Begin to listen, in the background."""
        if self._url is None or self._thread is not None:
            return
        self._wake, self._stop = os.pipe(), threading.Event()
        arguments = (self._url, self._wake[0], self._stop)
        self._thread = threading.Thread(target=self._run, args=arguments, name="notices", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; a call under way is waited for, but not for ever, and no server is waited for."""
        if self._thread is None or self._wake is None:
            return
        self._stop.set()
        os.write(self._wake[1], b"x")
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            self._cut_off()
            self._thread.join(_STOP_S)
        if not self._thread.is_alive():  # else it still reads from the pipe, and the number would soon be another's
            for end in self._wake:
                os.close(end)
        self._thread = self._wake = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _cut_off(self) -> None:
        import psycopg

        connection = self._connection
        if connection is not None:
            with contextlib.suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as line:
                line.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for an answer

    def _run(self, url: str, wake: int, stop: threading.Event) -> None:
        import psycopg  # only where there is PostgreSQL

        pause, known = _PAUSE_S[0], True
        while not stop.is_set():
            try:
                with psycopg.connect(
                    url, autocommit=True, connect_timeout=5, application_name="genserve-notices"
                ) as connection:
                    self._connection = connection
                    connection.execute(f"LISTEN {CHANNEL}")
                    pause, known = _PAUSE_S[0], True
                    self._tell(Notice(kind="missed"))
                    self._listen(connection, wake, stop)
            except (psycopg.Error, OSError) as error:
                if known and not stop.is_set():  # once, not with every try
                    logger.warning("no notices from %s: %s", self._shown, type(error).__name__)
                known = False
                stop.wait(pause * random.uniform(0.5, 1.0))
                pause = min(_PAUSE_S[1], 2 * pause)

    def _listen(self, connection: "psycopg.Connection[Any]", wake: int, stop: threading.Event) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(connection.fileno(), selectors.EVENT_READ)
            ready.register(wake, selectors.EVENT_READ)
            while not stop.is_set():
                if not ready.select(_IDLE_S):
                    connection.execute("SELECT 1")
                for notice in connection.notifies(timeout=0):
                    self._take(notice.payload)

    def _take(self, payload: str) -> None:
        with contextlib.suppress(ValidationError):  # another program's, on the same channel
            self._tell(Notice.model_validate_json(payload))

    def _tell(self, notice: Notice) -> None:
        try:
            self._call(notice)
        except Exception:
            logger.exception("a notice could not be acted upon")
