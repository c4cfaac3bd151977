"""What a run tells reaches the ledger in order, also when the ledger was away, and never with an old fence."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.database import open_database
from jobs.errors import DatabaseError, JobStateError
from jobs.ledger import Ledger
from jobs.model import Failure, Job, NewJob, Progress, WorkerInfo
from tests.training.worker.rig import until
from training.worker.link import Link

RECIPE = {"name": "tiny", "family": "vae"}


class Moody(Ledger):
    """A ledger whose database can be away, and which can be at a loss with what some methods are given."""

    away = False
    puzzled: tuple[str, ...] = ()

    def log(self, *given: Any) -> None:
        self._puzzle("log")
        super().log(*given)

    def permit(self, *given: Any) -> Any:
        self._puzzle("permit")
        return super().permit(*given)

    def finish(self, job_id: str, fence: int, state: Any, result: Any = None, failure: Any = None) -> None:
        self._puzzle(state)
        super().finish(job_id, fence, state, result, failure)

    def release(self, *given: Any) -> None:
        self._puzzle("release")
        super().release(*given)

    def wanted(self, *given: Any) -> Any:
        self._puzzle("wanted")
        return super().wanted(*given)

    def _puzzle(self, method: str) -> None:
        if method in self.puzzled:
            raise LookupError(method)

    def _write(self, work: Any) -> Any:
        if self.away:
            raise DatabaseError("away")
        return super()._write(work)

    def _read(self, work: Any) -> Any:
        if self.away:
            raise DatabaseError("away")
        return super()._read(work)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Moody]:
    made = Moody(open_database(f"sqlite:///{tmp_path}/jobs.sqlite"))
    for name in ("one", "two"):
        made.register(WorkerInfo(instance=name, name=name, host="here", pid=1, device="cpu"))
    yield made
    made.database.close()


@pytest.fixture
def job(ledger: Moody) -> Job:
    """A job that `one` runs."""
    started = ledger.start(ledger.submit(NewJob(recipe=RECIPE))[0].id, 1, "one")
    assert started is not None
    return started


@pytest.fixture
def link(ledger: Moody, job: Job) -> Iterator[Link]:
    made = Link(ledger, job.id, job.fence)
    yield made
    made.close()


def progress(step: int) -> Progress:
    return Progress(
        step=step, steps=9, stage="all", seconds=1.0, images_per_second=2.0, eta_s=None, losses={}, epoch=0.5
    )


def test_what_was_told_while_the_database_was_away_is_written_in_order_when_it_is_back(
    ledger: Moody, job: Job, link: Link, tmp_path: Path
) -> None:
    png = tmp_path / "grid.png"
    png.write_bytes(b"PNG")
    ledger.away = True
    for step in range(1, 4):
        link.progress(progress(step))  # nobody needs the first two any more
    link.log("one")
    link.picture(png.read_bytes, {"step": 3})
    link.picture((tmp_path / "gone.png").read_bytes, {"step": 3})
    link.epoch({"epoch": 1})
    until(lambda: link.silent_s > 1.5, "the database is not away")
    ledger.away = False
    assert link.finish("failed", lambda: False, failure=Failure(code="internal", message="no"))
    events = ledger.events(job.id, after=2)
    assert [event.kind for event in events] == ["progress", "log", "picture", "epoch", "state"]
    assert events[0].data["step"] == 3
    assert ledger.read_picture(job.id, events[2].id) == b"PNG"
    assert link.silent_s < 1.5


def test_what_waits_for_the_database_is_bounded(ledger: Moody, job: Job, link: Link) -> None:
    ledger.away = True
    for number in range(3000):
        link.log(str(number))
    ledger.away = False
    assert link.finish("cancelled", lambda: False)
    logs = [event.data["message"] for event in ledger.events(job.id, limit=5000) if event.kind == "log"]
    assert 999 <= len(logs) <= 1100
    assert logs[-1] == "2999"


def test_end_is_not_waited_for_longer_than_asked(ledger: Moody, link: Link) -> None:
    ledger.away = True
    asked: list[bool] = []
    assert not link.finish("cancelled", lambda: len(asked) > 3 or asked.append(True) or False)
    assert len(asked) == 4


def test_cancelling_is_heard_of(ledger: Moody, job: Job, link: Link) -> None:
    answer = link.inquire()
    until(lambda: answer() == "run", "no answer")
    ledger.cancel(job.id)
    until(lambda: link.wanted == "cancel", "not heard")
    assert link.finish("cancelled", lambda: False)


def test_job_of_somebody_else_is_not_written_to(ledger: Moody, job: Job, link: Link) -> None:
    ledger.bury("one")
    assert ledger.start(job.id, 1, "two") is not None
    until(lambda: link.wanted == "nothing", "not heard")
    link.log("late")
    assert not link.finish("cancelled", lambda: False)
    answer = link.inquire()
    assert answer() == "nothing"
    assert ledger.get(job.id).state == "running"
    assert "log" not in [event.kind for event in ledger.events(job.id)]


def test_job_that_is_given_back_waits_for_anybody(ledger: Moody, job: Job, link: Link) -> None:
    assert link.release(lambda: False)
    assert [waiting.id for waiting in ledger.waiting()] == [job.id]


def test_event_that_cannot_be_written_is_left_out_and_the_next_ones_are_written(
    ledger: Moody, job: Job, link: Link
) -> None:
    ledger.puzzled = ("log",)
    link.log("strange")
    link.epoch({"epoch": 1})
    assert link.finish("cancelled", lambda: False)
    assert [event.kind for event in ledger.events(job.id, after=2)] == ["epoch", "state"]


def test_end_that_cannot_be_written_is_a_failure(ledger: Moody, job: Job, link: Link) -> None:
    ledger.puzzled = ("cancelled",)
    assert link.finish("cancelled", lambda: False)
    ended = ledger.get(job.id)
    assert (ended.state, ended.failure and ended.failure.code) == ("failed", "internal")


@pytest.mark.parametrize("release", [True, False])
def test_job_of_which_no_end_at_all_can_be_written_is_let_go(release: bool, ledger: Moody, link: Link) -> None:
    ledger.puzzled = ("cancelled", "failed", "release")
    assert not (link.release(lambda: False) if release else link.finish("cancelled", lambda: False))
    assert link.wanted == "nothing"


def test_question_that_fails_is_asked_again(ledger: Moody, job: Job, link: Link) -> None:
    ledger.puzzled = ("wanted", "permit")
    permission = link.permission()
    inquiry = link.inquire()
    time.sleep(0.5)
    assert (permission(), inquiry()) == (None, None)
    ledger.puzzled = ()
    until(lambda: permission() == "run" and inquiry() == "run", "no answer", 20)
    with pytest.raises(JobStateError, match="is being published"):
        ledger.cancel(job.id)


def test_permission_is_refused_to_a_run_that_is_to_be_cancelled(ledger: Moody, job: Job, link: Link) -> None:
    ledger.cancel(job.id)
    permission = link.permission()
    until(lambda: permission() == "cancel", "no answer", 20)


def test_what_was_written_is_not_written_again_when_the_question_after_it_fails(
    ledger: Moody, job: Job, link: Link, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise DatabaseError("away")

    with monkeypatch.context() as patch:
        patch.setattr(ledger, "wanted", away)
        link.log("once")
        until(lambda: len(ledger.events(job.id)) > 2, "not written", 20)
        time.sleep(1.5)
    assert link.finish("cancelled", lambda: False)
    assert [event.kind for event in ledger.events(job.id, after=2)] == ["log", "state"]
