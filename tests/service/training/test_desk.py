"""The desk tells of an outage once, and of its end."""

import asyncio
import threading
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from jobs.model import NewJob
from service.errors import DatabaseUnavailableError
from service.settings import Settings
from service.training.desk import Desk
from tests.service.training.support import SMALL, sqlite


def test_outage_is_logged_once_and_so_is_its_end(tmp_path: Path) -> None:
    blocked = tmp_path / "folder"
    blocked.write_text("a file where the database's folder should be")
    desk = Desk(Settings(database=sqlite(blocked)))

    async def go() -> None:
        for _ in range(3):
            with pytest.raises(DatabaseUnavailableError):
                await desk.ask(lambda ledger: ledger.ping())
        blocked.unlink()
        for _ in range(3):
            await desk.ask(lambda ledger: ledger.ping())

    with capture_logs() as lines:
        asyncio.run(go())
    desk.close()
    assert [line["log_level"] for line in lines] == ["error", "info"]


def test_call_that_takes_too_long_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.training.desk._PATIENCE_S", 0.05)
    desk = Desk(Settings(database=sqlite(tmp_path)))
    hanging = threading.Event()
    with pytest.raises(DatabaseUnavailableError):
        asyncio.run(desk.ask(lambda _: hanging.wait(60)))
    hanging.set()
    desk.close()


def test_faults_of_ours_are_not_called_an_outage(tmp_path: Path) -> None:
    desk = Desk(Settings(database=sqlite(tmp_path)))
    new = NewJob(recipe=SMALL)
    with pytest.raises(ZeroDivisionError):
        asyncio.run(desk.ask(lambda ledger: (ledger.submit(new), 1 // 0)))
    desk.close()
