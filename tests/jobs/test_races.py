"""Several processes at the same job at the same time."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection

from jobs import journal
from jobs.ledger import Ledger
from jobs.model import Kind
from tests.jobs.processes import FORKSERVER, at_once, end_all, hold_until_killed, order_with, start_all, write_or_follow
from tests.jobs.samples import FAILURE, started, states, submitted


def test_of_two_processes_that_start_a_job_one_gets_it(ledger: Ledger, url: str) -> None:
    jobs = [submitted(ledger).id for _ in range(8)]
    one, other = at_once(start_all, [(url, jobs, "w-1"), (url, jobs, "w-2")])
    assert [sorted([a, b], key=str) for a, b in zip(one, other, strict=True)] == [[1, None]] * 8
    for job in jobs:
        assert states(ledger.events(job)) == ["queued", "running"]


def test_a_takeover_waits_for_a_write_that_has_passed_the_fence(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the write would come after the takeover, of which its fence knew nothing."""
    job = started(ledger)
    whole = journal.append
    inside, enough = threading.Event(), threading.Event()

    def append(connection: Connection, job: str, kind: Kind, data: dict[str, Any], mark: str) -> int | None:
        if kind == "log":
            inside.set()
            assert enough.wait(30)
        return whole(connection, job, kind, data, mark)

    monkeypatch.setattr(journal, "append", append)
    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(ledger.log, job.id, job.fence, {"message": "in time"})
        assert inside.wait(30)
        burying = threads.submit(ledger.bury, "w-1")
        with pytest.raises(TimeoutError):
            burying.result(0.3)
        enough.set()
        writing.result(30)
        assert burying.result(30)
    assert [event.kind for event in ledger.events(job.id)] == ["state", "state", "log", "state"]


def test_a_process_killed_in_the_middle_of_a_write_holds_nobody_up(ledger: Ledger, url: str) -> None:
    job = started(ledger)
    inside = FORKSERVER.Event()
    process = FORKSERVER.Process(target=hold_until_killed, args=(url, job.id, inside))
    process.start()
    assert inside.wait(60)
    process.kill()
    process.join()
    ledger.log(job.id, job.fence, {"message": "after"})
    assert [event.kind for event in ledger.events(job.id)] == ["state", "state", "log"]


def test_a_key_that_comes_several_times_at_once_is_one_job(ledger: Ledger, url: str) -> None:
    keys = [f"key {i}" for i in range(8)]
    answers = at_once(order_with, [(url, keys)] * 3)
    assert len(ledger.list()) == 8
    for of_key in zip(*answers, strict=True):
        assert len({job for job, _ in of_key}) == 1
        assert sorted(created for _, created in of_key) == [False, False, True]


@pytest.mark.parametrize(("how", "became"), [("cancel", "cancelled"), ("resume", "queued")])
def test_of_two_that_cancel_or_resume_a_job_one_does_it(ledger: Ledger, url: str, how: str, became: str) -> None:
    jobs = [submitted(ledger).id for _ in range(4)]
    if how == "resume":
        for job in jobs:
            ledger.cancel(job)
    one, other = at_once(end_all, [(url, jobs, how)] * 2)
    assert [sorted(pair) for pair in zip(one, other, strict=True)] == [sorted(["JobStateError", became])] * 4
    assert {ledger.get(job).attempt for job in jobs} == {2 if how == "resume" else 1}


def test_events_of_several_writers_have_no_gaps_and_are_never_seen_out_of_order(ledger: Ledger, url: str) -> None:
    job = started(ledger)
    writers = [(url, job.id, job.fence, 30)] * 3
    total = 2 + 3 * 30
    *_, seen, seen_too = at_once(write_or_follow, [*writers, (url, job.id, None, total), (url, job.id, None, total)])
    assert seen == seen_too == list(range(1, total + 1))
    lines = [event.data for event in ledger.events(job.id) if event.kind == "log"]
    for process in {line["process"] for line in lines}:
        assert [line["i"] for line in lines if line["process"] == process] == list(range(30))


def test_a_cancel_and_a_resume_at_once_come_one_after_the_other(ledger: Ledger, url: str) -> None:
    job = started(ledger)
    ledger.finish(job.id, job.fence, "failed", failure=FAILURE)
    (cancel,), (resume,) = at_once(end_all, [(url, [job.id], "cancel"), (url, [job.id], "resume")])
    assert (cancel, resume, ledger.get(job.id).state) in {
        ("JobStateError", "queued", "queued"),
        ("cancelled", "queued", "cancelled"),
    }
