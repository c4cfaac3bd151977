"""A PostgreSQL server of the tests' own: on loopback, in a folder that goes with it, with a password.

def test_something(postgres_url: str) -> None: ...            a database of its own on the server of the session
def test_restarts(own_postgres: PostgresServer) -> None: ...  a server of its own, to be stopped and started
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

PASSWORD = "p@ss/word:%41"  # needs quoting in a URL
USER = "genserve"

_START_S = 60.0
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "fsync": "off",  # the machine does not lose power in a test
    "autovacuum": "off",
    "log_min_messages": "warning",
}


class PostgresServer:
    """A server: running, or stopped and to be started again, on the same port with the same data."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.port = _free_port()
        self._binaries = binaries
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _unprivileged()

    def create(self) -> None:
        """Make the folder of the data."""
        if self._user is not None:
            os.chown(self._folder, *_ids(self._user))
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self._user is not None:
            os.chown(password, *_ids(self._user))
        how = ["--auth=scram-sha-256", f"--username={USER}", f"--pwfile={password}", "--no-sync", "--encoding=UTF8"]
        made = self._popen("initdb", f"--pgdata={self._folder / 'data'}", "--locale=C", *how, stdout=subprocess.PIPE)
        said, _ = made.communicate()
        assert made.returncode == 0, said.decode()

    def start(self) -> None:
        """Start, and wait until it answers."""
        assert self._process is None, "it is running"
        settings = [word for key, value in _SETTINGS.items() for word in ("-c", f"{key}={value}")]
        where = ["-D", str(self._folder / "data"), "-p", str(self.port)]
        with (self._folder / "log").open("ab") as log:
            self._process = self._popen("postgres", *where, *settings, stdout=log)
        deadline = time.monotonic() + _START_S
        while not self._answers():
            assert self._process.poll() is None, f"PostgreSQL ended: {self.log()}"
            assert time.monotonic() < deadline, f"PostgreSQL does not answer: {self.log()}"
            time.sleep(0.05)

    def stop(self, *, crash: bool = False) -> None:
        """Stop at once; whoever is connected is cut off.

        Args:
            crash: Without a word to the clients, as after a power cut.
        """
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT if crash else signal.SIGINT)
            self._process.wait(_START_S)
            self._process = None

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """All its processes stand still: connections stay open, and nothing answers."""
        assert self._process is not None, "it is stopped"
        server = psutil.Process(self._process.pid)
        server.suspend()  # first, so that it starts no more
        processes = [server, *server.children()]
        for process in processes[1:]:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def url(self, database: str = "postgres", *, password: str | None = PASSWORD) -> str:
        """The URL of a database, with the password unless there is to be none."""
        quoted = "" if password is None else ":" + "".join(f"%{byte:02X}" for byte in password.encode())
        return f"postgresql://{USER}{quoted}@127.0.0.1:{self.port}/{database}"

    def run(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a statement, and answer its rows."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextlib.contextmanager
    def database(self) -> Iterator[str]:
        """The name of an empty database that goes afterwards."""
        name = f"test_{secrets.token_hex(6)}"
        self.run(f"CREATE DATABASE {name}")
        try:
            yield name
        finally:
            if self._process is not None:
                self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def log(self) -> str:
        """What the server wrote."""
        return (self._folder / "log").read_text(errors="replace")

    def _answers(self) -> bool:
        import psycopg

        try:
            psycopg.connect(self.url(), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def _popen(self, program: str, *arguments: str, stdout: Any) -> subprocess.Popen[bytes]:
        user, group = (None, None) if self._user is None else _ids(self._user)
        return subprocess.Popen(
            [str(self._binaries / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            cwd=self._folder,
            env={"PATH": os.environ.get("PATH", ""), "TZ": "UTC"},
            user=user,
            group=group,
            extra_groups=None if group is None else [],
        )


@contextlib.contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """A server that runs as long as the context.

    Skips the test where PostgreSQL is not installed, or where there is no user to run it as.
    """
    binaries = _binaries()
    if binaries is None:
        pytest.skip("PostgreSQL's initdb and postgres are not installed")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    if os.geteuid() == 0 and _unprivileged() is None:
        pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
    folder = Path(tempfile.mkdtemp(prefix="genserve-postgres-"))  # pytest's own folders are closed to other users
    server = PostgresServer(binaries, folder)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server of all tests that leave it running."""
    with running_postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The URL of an empty database."""
    with postgres_server.database() as name:
        yield postgres_server.url(name)


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server for one test, which may stop and start it."""
    with running_postgres() as server:
        yield server


def _binaries() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    return next((path for path in folders if (path / "initdb").exists() and (path / "postgres").exists()), None)


def _unprivileged() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in known), None)


def _ids(user: str) -> tuple[int, int]:
    entry = pwd.getpwnam(user)
    return entry.pw_uid, entry.pw_gid


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
