"""Who is alive, who is dead, and who may say so."""

import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jobs.database import open_database
from jobs.errors import DatabaseError
from jobs.ledger import Ledger
from jobs.model import NewJob, WorkerInfo
from tests.training.worker.rig import until
from training.worker import roll as roll_module
from training.worker.roll import Roll, host
from training.worker.settings import WorkerSettings

LAPSE_S = 1.0


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(open_database(f"sqlite:///{tmp_path}/jobs.sqlite"), lapse_s=LAPSE_S)
    yield made
    made.database.close()


@pytest.fixture
def roll(ledger: Ledger) -> Iterator[Roll]:
    """Ours, entered and beating."""
    made = Roll(ledger, WorkerSettings(name="us", instance="us", beat_s=0.1, lapse_s=LAPSE_S))
    made.open()
    yield made
    made.close()


def dead_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize(
    ("where", "pid", "alive"),
    [
        (host, dead_pid, False),  # gone: seen at once
        (lambda: "elsewhere/1", dead_pid, True),  # the number says nothing there
        (host, lambda: 1, True),
    ],
    ids=["gone from here", "elsewhere", "here"],
)
def test_process_that_is_gone_from_this_machine_is_dead_at_once(
    where: Callable[[], str], pid: Callable[[], int], alive: bool, ledger: Ledger, roll: Roll
) -> None:
    ledger.register(WorkerInfo(instance="other", name="other", host=where(), pid=pid(), device="cpu"))
    job = ledger.submit(NewJob(recipe={"name": "tiny", "family": "vae"}))[0]
    assert ledger.start(job.id, 1, "other") is not None
    assert roll.present() == ({"us", "other"} if alive else {"us"})
    assert ledger.get(job.id).state == ("running" if alive else "queued")


def test_silent_worker_is_dead_after_its_lapse_and_we_are_not(ledger: Ledger, roll: Roll) -> None:
    ledger.register(WorkerInfo(instance="other", name="other", host="elsewhere", pid=1, device="cpu"))
    assert roll.present() == {"us", "other"}
    until(lambda: roll.present() == {"us"}, "still alive", 20)
    time.sleep(2 * LAPSE_S)
    assert roll.present() == {"us"}
    assert [worker.instance for worker in ledger.workers() if worker.alive] == ["us"]


def test_whoever_could_not_reach_the_database_buries_nobody_before_a_whole_lapse(
    ledger: Ledger, roll: Roll, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot know whether the others could."""
    ledger.register(WorkerInfo(instance="other", name="other", host="elsewhere", pid=1, device="cpu"))
    time.sleep(LAPSE_S + 0.3)
    with monkeypatch.context() as patch:
        patch.setattr(ledger, "beat", lambda *_: (_ for _ in ()).throw(DatabaseError("away")))
        until(lambda: roll._steady_since is None, "no beat has failed", 20)  # the one before may take a while
    assert roll.present() == {"us", "other"}, "what nobody took from it is not to be given to others"
    assert next(worker for worker in ledger.lapsed() if worker.instance == "other").alive is False
    assert ledger.bury("other"), "it was buried already"


def test_worker_that_leaves_is_gone_and_one_that_was_buried_too_early_is_back(ledger: Ledger, roll: Roll) -> None:
    ledger.bury("us")
    until(lambda: any(worker.alive for worker in ledger.workers()), "not back", 20)
    roll.close()
    assert [worker.alive for worker in ledger.workers()] == [False]


def test_worker_whose_lapse_ends_between_two_looks_at_the_roll_keeps_its_work(
    ledger: Ledger, roll: Roll, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.register(WorkerInfo(instance="other", name="other", host="elsewhere", pid=1, device="cpu"))
    monkeypatch.setattr(ledger, "lapsed", lambda *_: [])
    time.sleep(LAPSE_S + 0.3)
    assert not next(worker for worker in ledger.workers() if worker.instance == "other").alive
    assert roll.present() == {"us", "other"}


def test_machines_of_one_name_are_told_apart_by_their_boot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = []
    for boot in ("d86560e0-1111", "0c4f6a31-1111"):
        (tmp_path / "boot_id").write_text(f"{boot}\n")
        monkeypatch.setattr(roll_module, "_BOOT", tmp_path / "boot_id")
        hosts.append(host())
    assert len(set(hosts)) == 2
    monkeypatch.setattr(roll_module, "_BOOT", tmp_path / "none")
    assert host()
