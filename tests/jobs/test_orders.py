"""Orders as the service gives them: submitted, listed, cancelled, resumed."""

import pytest

from jobs.errors import IdempotencyError, JobNotFoundError, JobStateError
from jobs.ledger import Ledger
from tests.jobs.samples import FAILURE, RESULT, order, recipe, started, states, submitted, worker


def test_an_order_is_a_queued_job_with_its_recipe_as_it_came(ledger: Ledger) -> None:
    wild = recipe(z=1, a={"ü": [1e-300, 12345678901234567890, None, True, "☃"]})
    job, created = ledger.submit(order().model_copy(update={"recipe": wild}))
    again = ledger.get(job.id)
    assert created
    assert again == job
    assert (job.state, job.attempt, job.fence, job.worker, job.progress) == ("queued", 1, 0, None, None)
    assert list(again.recipe) == list(wild), "the order of the keys"
    assert again.recipe == wild


def test_the_same_key_and_order_is_the_same_job(ledger: Ledger) -> None:
    first, created = ledger.submit(order("key"))
    second, again = ledger.submit(order("key"))
    assert (created, again) == (True, False)
    assert second == first
    assert len(ledger.list()) == 1


def test_the_same_key_with_another_order_is_refused(ledger: Ledger) -> None:
    job, _ = ledger.submit(order("key"))
    with pytest.raises(IdempotencyError, match=f"'key' belongs to job {job.id}"):
        ledger.submit(order("key", priority=1))


def test_orders_without_key_are_jobs_of_their_own(ledger: Ledger) -> None:
    assert submitted(ledger).id != submitted(ledger).id


def test_jobs_are_listed_in_pages_newest_first(ledger: Ledger) -> None:
    ids = [submitted(ledger).id for _ in range(5)]
    first = ledger.list(limit=2)
    second = ledger.list(limit=2, before=first[-1].id)
    third = ledger.list(limit=2, before=second[-1].id)
    assert [job.id for page in (first, second, third) for job in page] == ids[::-1]


def test_jobs_are_found_by_state_name_and_family(ledger: Ledger) -> None:
    plain = submitted(ledger)
    other, _ = ledger.submit(order().model_copy(update={"recipe": recipe(name="other", family="gan")}))
    ledger.cancel(other.id)
    assert [job.id for job in ledger.list(states=["queued", "running"])] == [plain.id]
    assert [job.id for job in ledger.list(states=["cancelled"])] == [other.id]
    assert [job.id for job in ledger.list(name="other")] == [other.id]
    assert [job.id for job in ledger.list(family="vae")] == [plain.id]
    assert ledger.list(name="tiny", family="gan") == []
    assert ledger.list(states=[]) == []


def test_higher_priority_waits_in_front_and_the_older_before_the_younger(ledger: Ledger) -> None:
    low, first, second, high = (submitted(ledger, priority=priority).id for priority in (-5, 0, 0, 7))
    assert [job.id for job in ledger.waiting()] == [high, first, second, low]


def test_a_queued_job_is_cancelled_at_once(ledger: Ledger) -> None:
    job = ledger.cancel(submitted(ledger).id)
    assert (job.state, job.cancel_requested) == ("cancelled", True)
    assert job.ended_at is not None
    assert ledger.waiting() == []
    ledger.register(worker("w-1"))
    assert ledger.start(job.id, 1, "w-1") is None


def test_a_running_job_is_cancelling_until_its_worker_has_stopped(ledger: Ledger) -> None:
    job = started(ledger)
    assert ledger.cancel(job.id).state == "cancelling"
    assert ledger.cancel(job.id).state == "cancelling", "may be said again"
    assert ledger.wanted(job.id, job.fence) == "cancel"
    ledger.finish(job.id, job.fence, "cancelled")
    assert ledger.get(job.id).state == "cancelled"
    assert states(ledger.events(job.id)) == ["queued", "running", "cancelling", "cancelled"]


def test_a_job_whose_worker_is_dead_is_cancelled_at_once(ledger: Ledger) -> None:
    job = started(ledger)
    everybody_is_dead = Ledger(ledger.database, lapse_s=-1.0)
    assert everybody_is_dead.cancel(job.id).state == "cancelled"


def test_what_is_over_cannot_be_cancelled(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.finish(job.id, job.fence, "succeeded", result=RESULT)
    with pytest.raises(JobStateError, match=r"is succeeded; only a job that is queued or running can be cancelled"):
        ledger.cancel(job.id)


def test_a_failed_job_resumes_as_its_next_attempt(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.finish(job.id, job.fence, "failed", failure=FAILURE)
    assert ledger.get(job.id).failure == FAILURE
    again = ledger.resume(job.id)
    assert (again.state, again.attempt, again.worker, again.failure, again.ended_at) == ("queued", 2, None, None, None)
    assert again.fence > job.fence
    assert ledger.start(job.id, 1, "w-1") is None, "the attempt before is not to be run"
    assert ledger.start(job.id, 2, "w-1") is not None


def test_a_cancelled_job_can_be_resumed_and_cancelled_again(ledger: Ledger) -> None:
    job = ledger.cancel(submitted(ledger).id)
    assert not ledger.resume(job.id).cancel_requested
    assert ledger.cancel(job.id).attempt == 2


def test_only_cancelled_and_failed_jobs_can_be_resumed(ledger: Ledger) -> None:
    job = started(ledger)
    with pytest.raises(JobStateError, match=r"is running; only a job that was cancelled or failed can be resumed"):
        ledger.resume(job.id)


def test_an_unknown_job_is_said_to_be_unknown(ledger: Ledger) -> None:
    for call in (ledger.get, ledger.cancel, ledger.resume, ledger.events):
        with pytest.raises(JobNotFoundError, match="there is no job 'nothing'"):
            call("nothing")
    with pytest.raises(JobNotFoundError):
        ledger.start("nothing", 1, "w-1")
    with pytest.raises(JobNotFoundError):
        ledger.wanted("nothing", 1)
