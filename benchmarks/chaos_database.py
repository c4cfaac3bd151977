"""A PostgreSQL server of our own, on loopback, and what psql finds in it."""

import contextlib
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.errors import BenchmarkError

_USER = "genserve"
_PSQL_S = 30.0


@dataclass(frozen=True)
class Installation:
    """A server that is made, and not started.

    Attributes:
        binaries: Of PostgreSQL.
        folder: Of its data.
        port: On loopback.
        password_file: Holds its password.
        user: That it runs as, if not as us.
    """

    binaries: Path
    folder: Path
    port: int
    password_file: Path
    user: str | None

    @property
    def url(self) -> str:
        """Of the database, without the password."""
        return f"postgresql://{_USER}@127.0.0.1:{self.port}/postgres"

    @property
    def command(self) -> list[str]:
        """That runs the server in the foreground, as a power cut would find it: with fsync."""
        settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "max_connections": "100"}
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return [str(self.binaries / "postgres"), "-D", str(self.folder / "data"), "-p", str(self.port), *options]

    def rows(self, query: str) -> list[dict[str, Any]]:
        """What psql says to a query.

        Raises:
            BenchmarkError: If psql fails.
        """
        as_json = f"SELECT coalesce(json_agg(found), '[]') FROM ({query}) found"
        where = ["-h", "127.0.0.1", "-p", str(self.port), "-U", _USER, "-d", "postgres"]
        said = subprocess.run(
            [str(self.binaries / "psql"), "-X", "-A", "-t", *where, "-c", as_json],
            env={"PATH": os.environ.get("PATH", ""), "PGPASSWORD": self.password_file.read_text()},
            capture_output=True,
            text=True,
            timeout=_PSQL_S,
            check=False,
        )
        if said.returncode:
            raise BenchmarkError(f"psql ended with {said.returncode}: {said.stderr.strip()}")
        found: list[dict[str, Any]] = json.loads(said.stdout)
        return found


@contextlib.contextmanager
def installed(port: int, password_file: Path) -> Iterator[Installation]:
    """Make a server's data in a folder that is removed afterwards.

    Args:
        port: For it.
        password_file: Is written.

    Raises:
        BenchmarkError: If PostgreSQL is not installed, or there is nobody to run it as.
    """
    binaries, user = _binaries(), _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="genserve-chaos-"))  # ours may be closed to other users
    try:
        password_file.touch(mode=0o600)
        password_file.write_text(secrets.token_hex(16))
        theirs = folder / "password"
        shutil.copy(password_file, theirs)
        if user is not None:
            for path in (folder, theirs):
                shutil.chown(path, user)
        how = ["--auth=scram-sha-256", f"--username={_USER}", f"--pwfile={theirs}", "--encoding=UTF8", "--locale=C"]
        made = subprocess.run(
            [str(binaries / "initdb"), "-D", str(folder / "data"), *how],
            user=user,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise BenchmarkError(f"initdb ended with {made.returncode}: {made.stderr.strip()}")
        yield Installation(binaries, folder, port, password_file, user)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _binaries() -> Path:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: path.parent.name, reverse=True)
    for folder in folders:
        if all((folder / name).exists() for name in ("initdb", "postgres", "psql")):
            return folder
    raise BenchmarkError("PostgreSQL's initdb, postgres and psql were not found; `apt-get install postgresql`")


def _unprivileged() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in ("postgres", "nobody"):
        if name in known:
            return name
    raise BenchmarkError("PostgreSQL does not run as root, and there is no user postgres or nobody to run it as")
