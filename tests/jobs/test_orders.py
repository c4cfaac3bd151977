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


def test_what_was_asked_for_decides_whether_an_order_is_the_same(ledger: Ledger) -> None:
    first, second = "1" * 64, "2" * 64
    assert ledger.seen("key", first) is None
    job, _ = ledger.submit(order("key").model_copy(update={"request_hash": first}))
    changed = order("key", priority=1).model_copy(update={"request_hash": first})
    assert ledger.submit(changed) == (job, False)
    assert ledger.seen("key", first) == job
    for call in (lambda: ledger.seen("key", second), lambda: ledger.submit(order("key"))):
        with pytest.raises(IdempotencyError, match=f"'key' belongs to job {job.id}"):
            call()


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


def test_a_job_that_may_be_published_already_is_not_cancelled_whoever_holds_it(ledger: Ledger) -> None:
    """Its bundle may be in the store: the successor finds it there."""
    job = started(ledger)
    assert ledger.permit(job.id, job.fence) == "run"
    everybody_is_dead = Ledger(ledger.database, lapse_s=-1.0)
    with pytest.raises(JobStateError, match="is being published"):
        everybody_is_dead.cancel(job.id)
    ledger.bury("w-1")
    with pytest.raises(JobStateError, match="is being published"):
        ledger.cancel(job.id)
    ledger.register(worker("w-2"))
    taken = ledger.start(job.id, 1, "w-2")
    assert taken is not None
    ledger.release(job.id, taken.fence)
    with pytest.raises(JobStateError, match="is being published"):
        ledger.cancel(job.id)
    assert ledger.get(job.id).state == "queued"


def test_permission_to_publish_ends_with_the_attempt(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.permit(job.id, job.fence)
    ledger.finish(job.id, job.fence, "failed", failure=FAILURE)
    ledger.resume(job.id)
    assert ledger.cancel(job.id).state == "cancelled"


def test_a_job_to_be_cancelled_gets_no_permission_to_publish(ledger: Ledger) -> None:
    job = started(ledger)
    ledger.cancel(job.id)
    assert ledger.permit(job.id, job.fence) == "cancel"
    ledger.bury("w-1")
    assert ledger.get(job.id).state == "cancelled"


def test_a_job_to_be_cancelled_is_ended_by_a_look_at_it_once_its_only_worker_is_dead(ledger: Ledger) -> None:
    jobs = [started(ledger, instance) for instance in ("w-1", "w-2")]
    for job in jobs:
        ledger.cancel(job.id)
        assert ledger.get(job.id).state == "cancelling"
    everybody_is_dead = Ledger(ledger.database, lapse_s=-1.0)
    assert everybody_is_dead.get(jobs[0].id).state == "cancelled"
    assert {job.state for job in everybody_is_dead.list()} == {"cancelled"}
    assert states(ledger.events(jobs[1].id)) == ["queued", "running", "cancelling", "cancelled"]
