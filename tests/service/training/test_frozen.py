"""A database whose connections stay open and that answers nothing holds up neither what needs none nor the end."""

import asyncio
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jobs import notify
from service.training import desk
from tests.bundle.uploads.files import png, with_image
from tests.service.support import Client, pngs_of, serving
from tests.service.training.support import JOBS, SMALL
from tests.support.postgres import PostgresServer

DATA = "/training/data"


def test_what_needs_no_database_is_answered_and_the_service_ends(
    store: Path, tmp_path: Path, own_postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each wait in here ends in time only because of that: the client's patience is a minute."""
    monkeypatch.setattr(notify, "_IDLE_S", 0.2)  # so that the listener waits for an answer too
    monkeypatch.setattr(desk, "_PATIENCE_S", 3.0)
    uploads = tmp_path / "uploads"
    with ExitStack() as frozen, serving(store, lanes=1, database=own_postgres.url(), uploads=uploads) as client:
        place = client.post(DATA, content=with_image("x.png")).headers["location"]
        assert client.get(JOBS).status_code == 200
        frozen.enter_context(own_postgres.frozen())
        hanging = [_begin(client, "GET", JOBS) for _ in range(5)] + [_begin(client, "DELETE", place)]
        assert client.get("/training/recipes").status_code == 200
        assert len(client.get(DATA).json()["uploads"]) == 1
        assert client.post(DATA, content=with_image("y.png", png(seed=7))).status_code == 201
        assert client.post(JOBS, {"recipe": SMALL, "overrides": {"train.rounds": 0}}).status_code == 422
        assert len(pngs_of(client.post("/sample", {"seed": 1}))) == 1
        assert [one.result(60).status_code for one in hanging] == [503] * 6
        leaving = _begin(client, "DELETE", place)
        assert client.get("/health/live").status_code == 200
        leaving.cancel()  # its thread waits on for the database when the service ends


def _begin(client: Client, method: str, path: str) -> Any:
    return asyncio.run_coroutine_threadsafe(client.http.request(method, path), client._loop)
