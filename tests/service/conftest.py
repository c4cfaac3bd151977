"""One store and one application for all contract tests; they change nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

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
