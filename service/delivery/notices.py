"""News of what was published, where the database can tell: PostgreSQL. Elsewhere the store is polled."""

import asyncio
from collections.abc import Callable

import structlog

from jobs.errors import DatabaseError
from jobs.notify import Listener, Notice, announce_published
from service.errors import DatabaseUnavailableError
from service.settings import Settings
from service.training.desk import Desk

_PATIENCE_S = 2.0  # whoever waits for the answer should not wait for a database that is away

_log = structlog.get_logger("service")


class Notices:
    """Calls back on the event loop when a version was published or an alias has moved, or when that may be.

    Args:
        settings: Say which database, and whether there is any.
        called: What to call.
    """

    def __init__(self, settings: Settings, called: Callable[[], None]) -> None:
        self._settings = settings
        self._called = called
        self._listener: Listener | None = None

    def start(self) -> None:
        """Begin to listen, in the background; a server that is down is waited for."""
        if not _can_tell(self._settings):
            return
        loop = asyncio.get_running_loop()

        def heard(notice: Notice) -> None:
            if notice.kind != "job":
                loop.call_soon_threadsafe(self._called)

        try:
            self._listener = Listener(
                self._settings.database, heard, password_file=self._settings.database_password_file
            )
        except DatabaseError as error:
            _log.error("no notices of what is published; the store is looked at instead", reason=str(error))
        else:
            self._listener.start()

    async def stop(self) -> None:
        """Listen no more."""
        if self._listener is not None:
            await asyncio.to_thread(self._listener.stop)
            self._listener = None


async def announce(desk: Desk, name: str, version: int | None) -> None:
    """Tell the services on other machines that an alias has moved; without a database they find out by looking."""
    if version is None or not _can_tell(desk.settings):
        return
    try:
        telling = desk.ask(lambda ledger: announce_published(ledger.database, name, version))
        await asyncio.wait_for(telling, _PATIENCE_S)
    except (DatabaseUnavailableError, TimeoutError) as error:
        reason = str(error) or f"the database has not answered for {_PATIENCE_S:g} s"
        _log.warning("change of an alias could not be announced", model=name, reason=reason)


def _can_tell(settings: Settings) -> bool:
    return settings.training and settings.database.startswith("postgres")
