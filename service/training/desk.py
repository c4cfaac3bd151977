"""The way to the ledger of jobs: its calls block, so they run on a few threads of their own; file work has others."""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

import structlog

from jobs.database import Database, open_database
from jobs.errors import DatabaseError, IdempotencyError, JobNotFoundError
from jobs.errors import JobStateError as LedgerStateError
from jobs.ledger import Ledger
from service.errors import (
    DatabaseUnavailableError,
    IdempotencyKeyError,
    JobStateError,
    TrainingOffError,
    UnknownJobError,
)
from service.settings import Settings
from service.training.threads import Threads

T = TypeVar("T")

_THREADS = 4  # for the ledger; as many again for files
_PATIENCE_S = 10.0  # with the database, before the caller is told to come again
_RETRY_S = 2.0

_log = structlog.get_logger("service.training")


class Desk:
    """One per application. The database is opened by the first call that needs it; until then nothing is touched."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._threads = Threads(_THREADS, "genserve-jobs")
        self._files = Threads(_THREADS, "genserve-recipes")  # a database that hangs must not hold these up
        self._opening = threading.Lock()
        self._database: Database | None = None
        self._away = False  # so that an outage is logged once, and not with every look

    @property
    def settings(self) -> Settings:
        """Those of the application."""
        return self._settings

    async def ask(self, call: Callable[[Ledger], T]) -> T:
        """What the ledger says, with its errors as ours.

        Raises:
            TrainingOffError: If the setting `training` is off.
            UnknownJobError: If there is no such job or picture.
            JobStateError: If the job's state does not allow it.
            IdempotencyKeyError: If the key came with another body before.
            DatabaseUnavailableError: If the database does not answer, or not in time.
        """
        self.require()
        try:
            return await asyncio.wait_for(self._threads.run(lambda: self._call(call)), _PATIENCE_S)
        except TimeoutError as error:
            self._note_away(f"no answer within {_PATIENCE_S:g} s")
            raise _unavailable() from error

    def ask_now(self, call: Callable[[Ledger], T]) -> T:
        """What the ledger says, for code that is on a thread already; as with `ask`, a database that hangs is given up.

        Raises:
            jobs.errors.DatabaseError: If the database does not answer, or not in time.
        """
        asked = self._threads.submit(lambda: call(self._ledger()))
        try:
            return asked.result(_PATIENCE_S)
        except TimeoutError as error:
            asked.cancel()  # where its turn has not come yet
            raise DatabaseError(f"the database has not answered for {_PATIENCE_S:g} s") from error

    async def run(self, work: Callable[[], T]) -> T:
        """Do blocking work that asks no database."""
        return await self._files.run(work)

    def require(self) -> None:
        """Go on only if jobs are taken.

        Raises:
            TrainingOffError: If the setting `training` is off.
        """
        if not self._settings.training:
            raise TrainingOffError("this service takes no training jobs; start it with the setting training = true")

    def close(self) -> None:
        """Wait for nothing: calls under way end by themselves, or with the process."""
        self._threads.close()
        self._files.close()
        if self._database is not None:
            self._database.close()

    def _ledger(self) -> Ledger:
        with self._opening:
            if self._database is None:
                settings = self._settings
                self._database = open_database(settings.database, password_file=settings.database_password_file)
            return Ledger(self._database)

    def _call(self, call: Callable[[Ledger], T]) -> T:
        try:
            found = call(self._ledger())
        except JobNotFoundError as error:
            raise UnknownJobError(str(error)) from error
        except LedgerStateError as error:
            raise JobStateError(str(error)) from error
        except IdempotencyError as error:
            raise IdempotencyKeyError(str(error)) from error
        except DatabaseError as error:
            self._note_away(str(error))
            raise _unavailable() from error
        if self._away:
            self._away = False
            _log.info("database of the jobs is back")
        return found

    def _note_away(self, reason: str) -> None:
        if not self._away:
            self._away = True
            _log.error("database of the jobs cannot be used", reason=reason)


def _unavailable() -> DatabaseUnavailableError:
    return DatabaseUnavailableError(
        "the database of the training jobs does not answer; try again. Models are served as ever",
        retry_after_s=_RETRY_S,
    )
