"""The rig, and the run that nothing has disturbed."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.training.worker.rig import Rig


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    """On SQLite."""
    made = Rig(tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def postgres_rig(tmp_path: Path, postgres_url: str) -> Iterator[Rig]:
    """On PostgreSQL."""
    made = Rig(tmp_path, postgres_url)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the weights of a run that nobody interrupted."""
    rig = Rig(tmp_path_factory.mktemp("undisturbed"))
    try:
        job = rig.submit()
        rig.worker()
        assert rig.wait(job).state == "succeeded", rig.logs(job)
        assert rig.states(job) == ["queued", "running", "succeeded"]
        return rig.weights(job)
    finally:
        rig.close()
