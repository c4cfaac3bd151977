"""An application with a database of its own for each module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.support import Client, serving
from tests.service.training.support import sqlite


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def client(store: Path, folder: Path) -> Iterator[Client]:
    with serving(store, lanes=1, database=sqlite(folder), uploads=folder / "uploads") as running:
        yield running
