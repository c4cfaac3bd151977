"""Which ledger the commands of this machine look at."""

import os
from pathlib import Path

from jobs.database import open_database
from jobs.errors import JobNotFoundError
from jobs.ledger import Ledger
from jobs.model import FINAL, Job

DATABASE, PASSWORD_FILE = "GENSERVE_DATABASE", "GENSERVE_DATABASE_PASSWORD_FILE"
DEFAULT = "sqlite:///runs/jobs.sqlite"
_LOOKED_AT = 500  # newest jobs among which a name or a part of an id is looked for


def open_ledger(url: str | None) -> Ledger | None:
    """The ledger of a URL, of `GENSERVE_DATABASE`, or of this folder; None where SQLite's file is not there yet.

    Raises:
        DatabaseError: If the URL is none, or the password cannot be read.
    """
    password = os.environ.get(PASSWORD_FILE)
    found = url or os.environ.get(DATABASE) or DEFAULT
    database = open_database(found, password_file=Path(password) if password else None)
    if database.path is not None and not database.path.exists():
        return None  # to look is not to make one
    return Ledger(database)


def find_job(ledger: Ledger, asked: str) -> Job:
    """The job of an id, of the beginning or the end of one, or the newest of a model's name (one that lives first).

    Raises:
        JobNotFoundError: If there is none, or several ids fit.
        DatabaseError: If the database cannot be reached.
    """
    jobs = ledger.list(limit=_LOOKED_AT)
    fitting = [job for job in jobs if job.id.startswith(asked) or job.id.endswith(asked)]
    if len(fitting) == 1:
        return fitting[0]
    named = [job for job in jobs if job.name == asked]
    if named:
        return next((job for job in named if job.state not in FINAL), named[0])
    if fitting:
        raise JobNotFoundError(f"{len(fitting)} jobs have an id with {asked!r}; give more of it")
    return ledger.get(asked)
