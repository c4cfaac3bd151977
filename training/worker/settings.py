"""What a worker can be told."""

import os
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path

DATABASE = "sqlite:///runs/jobs.sqlite"


def default_database() -> str:
    """`GENSERVE_DATABASE`, or a file in `runs/`: the same words as the service's."""
    return os.environ.get("GENSERVE_DATABASE") or DATABASE


def default_password_file() -> Path | None:
    """`GENSERVE_DATABASE_PASSWORD_FILE`, if it is set."""
    found = os.environ.get("GENSERVE_DATABASE_PASSWORD_FILE")
    return Path(found) if found else None


@dataclass(frozen=True)
class WorkerSettings:
    """Settings of one worker process.

    Attributes:
        name: For people; several workers may share it.
        device: `cpu`, or `cuda:N`.
        database: URL of the ledger.
        password_file: Holds the database's password.
        runs, store: Folders of runs and of bundles.
        beat_s: Seconds between two signs of life.
        lapse_s: Seconds without one after which a worker counts as dead.
        poll_s: Seconds between two looks at the queue.
        away_s: Seconds without the database after which a run is stopped, to be gone on with later.
        grace_s: Seconds that a run has to save and end before it is killed.
        checkpoint_s: Seconds between two checkpoints of a run.
        quota_bytes: Of the folders of runs that are over; of more, the oldest are removed.
        instance: Id of this process, never used before.
    """

    name: str = field(default_factory=socket.gethostname)
    device: str = "cpu"
    database: str = field(default_factory=default_database)
    password_file: Path | None = field(default_factory=default_password_file)
    runs: Path = Path("runs")
    store: Path = Path("models")
    beat_s: float = 2.0
    lapse_s: float = 20.0
    poll_s: float = 1.0
    away_s: float = 600.0
    grace_s: float = 60.0
    checkpoint_s: float = 15.0
    quota_bytes: int = 20 * 10**9
    instance: str = ""

    def __post_init__(self) -> None:
        if not self.instance:
            object.__setattr__(self, "instance", f"{self.name[:100]}-{secrets.token_hex(4)}")
