"""Runs as a worker reports them, and the fence that keeps all but one from writing."""

from collections.abc import Callable

import pytest

from jobs.errors import FencedError, JobHeldError
from jobs.ledger import Ledger
from tests.jobs.samples import FAILURE, RESULT, progress, started, states, submitted, worker

WRITES: dict[str, Callable[[Ledger, str, int], object]] = {
    "progress": lambda ledger, job, fence: ledger.progress(job, fence, progress(), True),
    "epoch": lambda ledger, job, fence: ledger.epoch(job, fence, {}),
    "log": lambda ledger, job, fence: ledger.log(job, fence, {}),
    "picture": lambda ledger, job, fence: ledger.picture(job, fence, b"png", {}),
    "finish": lambda ledger, job, fence: ledger.finish(job, fence, "succeeded", result=RESULT),
    "release": lambda ledger, job, fence: ledger.release(job, fence),
    "permit": lambda ledger, job, fence: ledger.permit(job, fence),
    "wanted": lambda ledger, job, fence: ledger.wanted(job, fence),
}


@pytest.fixture(params=WRITES, ids=str)
def write(request: pytest.FixtureRequest) -> Callable[[Ledger, str, int], object]:
    return WRITES[request.param]


def test_a_job_runs_from_start_to_its_result(ledger: Ledger) -> None:
    job = started(ledger)
    assert (job.state, job.fence, job.worker, job.attempt) == ("running", 1, "w-1", 1)
    ledger.progress(job.id, 1, progress(3), True)
    ledger.epoch(job.id, 1, {"epoch": 1})
    ledger.finish(job.id, 1, "succeeded", result=RESULT)
    over = ledger.get(job.id)
    assert (over.state, over.result, over.progress, over.worker) == ("succeeded", RESULT, progress(3), "w-1")
    assert over.started_at is not None
    assert over.ended_at is not None
    assert over.created_at <= over.started_at <= over.ended_at <= over.updated_at
    events = ledger.events(job.id)
    assert [event.kind for event in events] == ["state", "state", "progress", "epoch", "result", "state"]
    assert events[-1].data["state"] == "succeeded", "the final state is the last event"
    assert [event.at for event in events] == sorted(event.at for event in events)


def test_whoever_lost_the_job_writes_no_more(ledger: Ledger, write: Callable[[Ledger, str, int], object]) -> None:
    job = started(ledger)
    ledger.bury("w-1")
    ledger.register(worker("w-2"))
    taken = ledger.start(job.id, 1, "w-2")
    assert taken is not None
    before = ledger.events(job.id)
    with pytest.raises(FencedError, match=rf"it has fence {taken.fence}, this execution has 1; stop"):
        write(ledger, job.id, 1)
    assert ledger.events(job.id) == before
    assert ledger.get(job.id) == taken
    write(ledger, job.id, taken.fence)


def test_a_buried_worker_writes_no_more_before_anybody_has_taken_over(
    ledger: Ledger, write: Callable[[Ledger, str, int], object]
) -> None:
    job = started(ledger)
    ledger.bury("w-1")
    with pytest.raises(FencedError):
        write(ledger, job.id, 1)


def test_nothing_is_written_after_the_end(ledger: Ledger, write: Callable[[Ledger, str, int], object]) -> None:
    job = started(ledger)
    ledger.finish(job.id, 1, "failed", failure=FAILURE)
    with pytest.raises(FencedError, match="is failed and not run by anybody; stop"):
        write(ledger, job.id, 1)


def test_the_end_may_be_said_again(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.finish(job.id, 1, "failed", failure=FAILURE)
    ledger.finish(job.id, 1, "failed", failure=FAILURE)
    assert states(ledger.events(job.id)) == ["queued", "running", "failed"]


def test_an_end_without_its_reason_is_refused(ledger: Ledger) -> None:
    job = started(ledger)
    for state in ("succeeded", "failed", "running", "queued"):
        with pytest.raises(ValueError, match=f"cannot finish as {state}"):
            ledger.finish(job.id, 1, state)
    with pytest.raises(ValueError, match="cannot finish as cancelled"):
        ledger.finish(job.id, 1, "cancelled", failure=FAILURE)


def test_a_job_of_a_living_worker_is_not_given_to_another(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.register(worker("w-2"))
    with pytest.raises(JobHeldError, match="is run by w-1, which is alive"):
        ledger.start(job.id, 1, "w-2")
    assert ledger.get(job.id) == job


def test_a_worker_that_starts_its_job_again_gets_a_new_fence(ledger: Ledger) -> None:
    job = started(ledger)
    again = ledger.start(job.id, 1, "w-1")
    assert again is not None
    assert again.fence == job.fence + 1
    assert again.started_at == job.started_at


def test_a_dead_workers_job_is_taken_over_as_the_same_attempt(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.register(worker("w-2"))
    everybody_is_dead = Ledger(ledger.database, lapse_s=-1.0)
    taken = everybody_is_dead.start(job.id, 1, "w-2")
    assert taken is not None
    assert (taken.attempt, taken.fence, taken.worker, taken.state) == (1, 2, "w-2", "running")


def test_a_job_to_be_cancelled_is_cancelled_by_its_takeover(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.cancel(job.id)
    ledger.register(worker("w-2"))
    assert Ledger(ledger.database, lapse_s=-1.0).start(job.id, 1, "w-2") is None
    assert ledger.get(job.id).state == "cancelled"


def test_a_released_job_waits_for_anybody(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.release(job.id, job.fence)
    waiting = ledger.waiting()
    assert [(one.id, one.attempt, one.worker) for one in waiting] == [(job.id, 1, None)]
    ledger.register(worker("w-2"))
    assert ledger.start(job.id, 1, "w-2") is not None


def test_a_released_job_that_is_to_be_cancelled_is_cancelled(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.cancel(job.id)
    ledger.release(job.id, job.fence)
    assert ledger.get(job.id).state == "cancelled"
    assert ledger.waiting() == []


def test_what_was_published_in_spite_of_a_cancel_is_a_success(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.cancel(job.id)
    ledger.finish(job.id, job.fence, "succeeded", result=RESULT)
    assert ledger.get(job.id).state == "succeeded"


def lose_workers(ledger: Ledger, job: str, times: int, attempt: int = 1) -> None:
    """So many workers start the job, and die."""
    for number in range(times):
        ledger.register(worker(f"lost-{number}"))
        assert ledger.start(job, attempt, f"lost-{number}") is not None
        ledger.bury(f"lost-{number}")


def test_a_job_that_loses_five_workers_without_getting_further_has_failed(ledger: Ledger) -> None:
    job = submitted(ledger)
    lose_workers(ledger, job.id, 5)
    ledger.register(worker("w-6"))
    assert ledger.start(job.id, 1, "w-6") is None
    over = ledger.get(job.id)
    assert (over.state, over.failure and over.failure.code) == ("failed", "crashed")
    assert over.ended_at is not None
    last = ledger.events(job.id)[-1]
    assert (last.data["state"], last.data["failure"]["code"]) == ("failed", "crashed")
    ledger.resume(job.id)
    lose_workers(ledger, job.id, 5, attempt=2)
    assert ledger.get(job.id).state == "queued"


def test_a_job_that_gets_further_each_time_may_lose_any_number_of_workers(ledger: Ledger) -> None:
    job = submitted(ledger)
    ledger.register(worker("w-1"))
    for step in range(1, 9):
        taken = ledger.start(job.id, 1, "w-1")
        assert taken is not None
        ledger.progress(job.id, taken.fence, progress(step), False)
        ledger.bury("w-1")


def test_giving_a_job_back_is_not_losing_a_worker(ledger: Ledger) -> None:
    job = submitted(ledger)
    ledger.register(worker("w-1"))
    for _ in range(8):
        taken = ledger.start(job.id, 1, "w-1")
        assert taken is not None
        ledger.release(job.id, taken.fence)


def test_a_workers_jobs_are_those_that_it_runs(ledger: Ledger) -> None:
    job = started(ledger)
    assert [one.id for one in ledger.held_by("w-1")] == [job.id]
    ledger.release(job.id, job.fence)
    assert ledger.held_by("w-1") == []
