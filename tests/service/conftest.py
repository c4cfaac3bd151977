"""One store and one application for all contract tests; they change nothing. And a service under overload."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service import standing
from service.engine.batcher import Batcher
from tests.service.scene import Scene
from tests.service.support import Client, fill_store, serving


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill_store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def client(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("training")
    training = {"database": f"sqlite:///{folder}/jobs.sqlite", "uploads": folder / "uploads"}
    with serving(store, max_images=128, max_steps=64, max_body_mb=1, lanes=1, **training) as running:
        yield running


@pytest.fixture
def scene(store: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scene]:
    """A service with room for one image more."""
    with serving(store, queue_images=4, lanes=1) as client:
        monkeypatch.setattr(Batcher, "ready_at", lambda _: None)  # no lane takes what waits
        monkeypatch.setattr(standing, "_LONGEST_S", 0.0)  # each refusal is judged anew
        yield Scene(client)
