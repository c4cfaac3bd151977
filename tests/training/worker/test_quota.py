"""Which runs make way when there is no room."""

import os
from pathlib import Path

import pytest

from bundle.store import Store
from jobs.database import open_database
from jobs.ledger import Ledger
from jobs.model import NewJob
from training.worker import lock
from training.worker.quota import keep_within, over


def run_folder(jobs: Path, name: str, age: int, size: int = 1000) -> Path:
    """A run of so many bytes that was last written to so many seconds after 1970."""
    folder = jobs / name
    (folder / "pictures").mkdir(parents=True)
    (folder / "checkpoint.pt").write_bytes(bytes(size - 100))
    (folder / "pictures" / "1.png").write_bytes(bytes(100))
    for path in (folder / "pictures" / "1.png", folder / "checkpoint.pt", folder / "pictures", folder):
        os.utime(path, (age, age))
    return folder


def test_oldest_runs_that_are_over_make_way_and_only_as_many_as_needed(tmp_path: Path) -> None:
    folders = {name: run_folder(tmp_path, name, age) for age, name in enumerate(["old", "live", "middle", "young"])}
    assert keep_within(tmp_path, 4000, lambda _: True) == 0
    assert keep_within(tmp_path, 2500, lambda job: job != "live") == 2000
    assert [name for name, folder in folders.items() if folder.exists()] == ["live", "young"]


def test_run_whose_process_lives_stays(tmp_path: Path) -> None:
    folder = run_folder(tmp_path, "held", 0)
    with lock.hold(folder, lambda _: None):
        assert keep_within(tmp_path, 0, lambda _: True) == 0
    assert keep_within(tmp_path, 0, lambda _: True) > 0
    assert not folder.exists()


def test_only_what_the_ledger_knows_to_be_over_makes_way(tmp_path: Path) -> None:
    ledger = Ledger(open_database(f"sqlite:///{tmp_path}/jobs.sqlite"))
    waiting, cancelled = (ledger.submit(NewJob(recipe={"name": "a", "family": "vae"}))[0].id for _ in range(2))
    ledger.cancel(cancelled)
    jobs = tmp_path / "runs" / "jobs"
    for name in (waiting, cancelled, "unknown"):
        run_folder(jobs, name, 0)
    keep_within(jobs, 0, over(ledger))
    assert sorted(path.name for path in jobs.iterdir()) == sorted([waiting, "unknown"])
    ledger.database.close()


def test_no_folder_of_runs_is_no_trouble(tmp_path: Path) -> None:
    assert keep_within(tmp_path / "jobs", 0, lambda _: True) == 0


@pytest.mark.parametrize("quota", [0, 10**12])
def test_bundles_are_no_runs(tmp_path: Path, quota: int) -> None:
    store = Store(tmp_path / "models")
    folder = store.root / "name" / "1"
    folder.mkdir(parents=True)
    keep_within(tmp_path / "runs" / "jobs", quota, lambda _: True)
    assert folder.exists()
