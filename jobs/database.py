"""One database behind a URL: SQLite in a file, or PostgreSQL.

Work is a function of a connection, run in one transaction, and again from the start if the connection was lost and
there is patience left. So work must leave nothing behind outside of the database.
"""

import random
import threading
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from jobs import engines, schema
from jobs.errors import DatabaseError

T = TypeVar("T")

_PAUSE_S = (0.1, 2.0)  # between two tries: the first, and the longest
# PostgreSQL's classes of errors that time may heal: connection, a standby that is to take over, deadlock, resources,
# lock timeout, shutdown.
_PASSING = ("08", "25", "40", "53", "55", "57")
_SQLITE_PASSING = ("locked", "busy", "database or disk is full")


class Database:
    """A database with the ledger's tables. Safe to use from several threads; not across a fork.

    Attributes:
        shown: What to call it in messages: without password.
        path: SQLite's file; None on PostgreSQL.
    """

    def __init__(self, url: URL, engine: Engine) -> None:
        self._url = url
        self._engine = engine
        self._prepared = False
        self._lock = threading.Lock()
        self.path = None if url.database is None or self.dialect != "sqlite" else Path(url.database)
        self.shown = shown(url)
        weakref.finalize(self, engine.dispose)  # a database that nobody holds has no connections

    def __repr__(self) -> str:
        return f"Database({self.shown})"

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._engine.dialect.name

    def secret_url(self, driver: str = "") -> str:
        """The URL with the password, for libraries that connect by themselves; never to be logged.

        Args:
            driver: As in `postgresql+driver://`; left out, there is none.
        """
        name = f"{self.dialect}+{driver}" if driver else self.dialect
        return self._url.set(drivername=name).render_as_string(hide_password=False)

    def read(self, work: Callable[[Connection], T], patience_s: float = 0.0) -> T:
        """Run work that only reads, on one state of the database.

        Args:
            work: May be called several times.
            patience_s: How long to try again where the database cannot be reached.

        Raises:
            DatabaseError: If it could not be done in that time, or never can.
        """
        return self._run(work, patience_s, write=False)

    def write(self, work: Callable[[Connection], T], patience_s: float = 0.0) -> T:
        """As `read`, for work that writes: all of it or nothing.

        A connection that breaks during the commit leaves open whether it happened; the work is then run again,
        and must come to the same.
        """
        return self._run(work, patience_s, write=True)

    def prepare(self, patience_s: float = 0.0) -> None:
        """Connect, and make or migrate the tables. The first `read` or `write` does it otherwise.

        Raises:
            SchemaError: If the tables are those of a newer program.
            DatabaseError: If the database cannot be reached.
        """
        self.read(lambda _: None, patience_s)

    def transient(self, error: BaseException) -> bool:
        """Whether time may heal an error of the driver: a lost connection, a server that starts, a lock."""
        if isinstance(error, PoolTimeout):  # every connection of the pool is in use
            return True
        if not isinstance(error, DBAPIError):
            return False
        if self.dialect == "sqlite":
            return any(word in str(error.orig) for word in _SQLITE_PASSING)
        state = getattr(error.orig, "sqlstate", None)
        if state is not None:
            return str(state)[:2] in _PASSING
        # Without a state the server did not answer: refused, reset, or in the middle of a restart.
        return isinstance(error, OperationalError | InterfaceError)

    def close(self) -> None:
        """Close the idle connections at once, and the others when their calls end. A later call connects again."""
        pool = self._engine.pool
        self._engine.dispose()
        pool.dispose()  # of a call that ended before the engine had another pool

    def _run(self, work: Callable[[Connection], T], patience_s: float, *, write: bool) -> T:
        begin, pause = time.monotonic(), _PAUSE_S[0]
        while True:
            try:
                self._prepare_once()
                return self._transaction(work, write=write)
            except (IntegrityError, DataError):
                raise  # a fault of ours, not the database's
            except (DBAPIError, PoolTimeout) as error:
                left = patience_s - (time.monotonic() - begin)
                if left <= 0 or not self.transient(error):
                    raise DatabaseError(self._reason(error)) from error
                time.sleep(min(left, pause * random.uniform(0.5, 1.0)))
                pause = min(_PAUSE_S[1], 2 * pause)

    def _transaction(self, work: Callable[[Connection], T], *, write: bool) -> T:
        pool = self._engine.pool
        try:
            with self._engine.connect() as connection:
                connection = connection.execution_options(**{engines.WRITES: write})
                with connection.begin():
                    return work(connection)
        finally:
            if self._engine.pool is not pool:  # closed meanwhile: nobody else will look into the old pool
                pool.dispose()

    def _prepare_once(self) -> None:
        if self._prepared:
            return
        with self._lock:
            if not self._prepared:
                self._transaction(lambda connection: schema.prepare(connection, self.shown), write=True)
                self._prepared = True

    def _reason(self, error: DBAPIError | PoolTimeout) -> str:
        said = " ".join(str(error.orig if isinstance(error, DBAPIError) else error).split())
        password = self._url.password
        if password:
            said = said.replace(password, "***")
        if self.transient(error):
            return f"{self.shown} cannot be used now: {said}"
        return f"{self.shown} refuses: {said}"


def open_database(url: str, *, password_file: Path | None = None) -> Database:
    """The database behind a URL. Nothing is connected yet, so the server may be down (`Database.prepare` connects).

    Args:
        url: `sqlite:///relative/path.sqlite`, `sqlite:////absolute/path.sqlite` or `postgresql://user:password@host:port/name`.
            A file is made when it is missing, with its folder.
        password_file: Holds PostgreSQL's password, instead of the URL; a newline at its end is left out.

    Raises:
        DatabaseError: If the URL is none, names another kind of database, or the password cannot be read.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # What came is not shown: there is no telling which part of it is the password.
        raise DatabaseError(f"the database's URL cannot be read; {_EXPECTED}") from None
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        return _open_sqlite(parsed)
    if backend == "postgresql":
        return _open_postgresql(parsed, password_file)
    raise DatabaseError(f"the database is of the kind {backend!r}; {_EXPECTED}")


def shown(url: URL) -> str:
    """A URL for people: without password and without options, where some put one too."""
    bare = URL.create(url.get_backend_name(), url.username, None, url.host, url.port, url.database)
    return bare.render_as_string()


_EXPECTED = "expected sqlite:///path/to/file.sqlite or postgresql://user:password@host:port/name"


def _open_sqlite(url: URL) -> Database:
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise DatabaseError(f"{shown(url)} is not a file that several processes can share; {_EXPECTED}")
    path = Path(url.database).absolute()  # the working directory may change later
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(f"the folder of {shown(url)} cannot be made: {error.strerror}") from error
    url = URL.create("sqlite", database=str(path))
    return Database(url, engines.sqlite_engine(url))


def _open_postgresql(url: URL, password_file: Path | None) -> Database:
    if password_file is not None:
        try:
            url = url.set(password=password_file.read_text(encoding="utf-8").rstrip("\r\n"))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise DatabaseError(
                f"the password of {shown(url)} cannot be read from {password_file}: {reason}"
            ) from error
    return Database(url, engines.postgresql_engine(url.set(drivername="postgresql+psycopg")))
