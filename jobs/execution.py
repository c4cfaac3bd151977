"""What the worker that runs a job writes, each time with its fence."""

from typing import Any, Literal

from sqlalchemy import Connection, case, select, update

from jobs import journal, orders, staff
from jobs.clock import age, now
from jobs.errors import FencedError, JobHeldError, JobNotFoundError
from jobs.model import FINAL, HELD, Failure, Job, Progress, Result, State
from jobs.tables import jobs

_PROGRESS_EVERY_S = 1.0  # events of progress; a job's own `progress` is always the latest
_STARTS = 5  # in a row that got no further, after which a job takes no more workers with it


def start(connection: Connection, job_id: str, attempt: int, instance: str, lapse_s: float, mark: str) -> Job | None:
    """Give a job to a worker, with a new fence; see `Ledger.start`."""
    job = orders.get_locked(connection, job_id)
    if journal.written(connection, job_id, mark):
        return None if job.final else job
    if job.attempt != attempt or job.state in FINAL:
        return None
    if job.worker not in (None, instance) and staff.is_alive(connection, job.worker, lapse_s):
        raise JobHeldError(f"job {job_id} is run by {job.worker}, which is alive; ask again when it is gone")
    if job.state == "cancelling":
        orders.settle_cancelled(connection, job, mark)
        return None
    step = job.progress.step if job.progress else 0
    futile, reached = connection.execute(select(*jobs.c["starts", "reached"]).where(jobs.c.id == job_id)).one()
    futile = 0 if step > reached else futile
    if futile >= _STARTS:
        _give_up(connection, job, mark)
        return None
    started = {"starts": futile + 1, "reached": step} | ({} if job.started_at is not None else {"started_at": now()})
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(state="running", fence=jobs.c.fence + 1, holder=instance, progress_event_at=None, **started)
    )
    data = {"state": "running", "attempt": attempt, "worker": instance, "fence": job.fence + 1}
    journal.append(connection, job_id, "state", data, mark)
    return orders.get(connection, job_id)


def _give_up(connection: Connection, job: Job, mark: str) -> None:
    failure = Failure(
        code="crashed",
        message=f"its worker was lost {_STARTS} times in a row without getting further; see the workers' logs "
        "and the run's worker.log, then resume it",
    ).model_dump(mode="json")
    ended = {"state": "failed", "ended_at": now(), "failure": failure, "fence": jobs.c.fence + 1, "publishing": False}
    connection.execute(update(jobs).where(jobs.c.id == job.id).values(ended))
    journal.append(connection, job.id, "state", {"state": "failed", "attempt": job.attempt, "failure": failure}, mark)


def progress(connection: Connection, job_id: str, fence: int, now_at: Progress, store_event: bool, mark: str) -> None:
    """Write how far a run is, and an event of it unless the last one was just now."""
    _hold(connection, job_id, fence)
    data = now_at.model_dump(mode="json")
    last = connection.execute(
        update(jobs)
        .where(jobs.c.id == job_id)
        .values(progress=journal.storable(data), updated_at=now())
        .returning(age(jobs.c.progress_event_at))
    ).scalar_one()
    if store_event and (last is None or last >= _PROGRESS_EVERY_S):
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(progress_event_at=now()))
        journal.append(connection, job_id, "progress", data, mark)


def happened(
    connection: Connection, job_id: str, fence: int, kind: Literal["epoch", "log"], data: dict[str, Any], mark: str
) -> None:
    """Write an event."""
    _hold(connection, job_id, fence)
    journal.append(connection, job_id, kind, data, mark)


def picture(connection: Connection, job_id: str, fence: int, png: bytes, data: dict[str, Any], mark: str) -> None:
    """Write an event with a picture."""
    _hold(connection, job_id, fence)
    journal.append_picture(connection, job_id, png, data, mark)


def finish(
    connection: Connection,
    job_id: str,
    fence: int,
    state: State,
    result: Result | None,
    failure: Failure | None,
    mark: str,
) -> None:
    """Write a job's end; the event of the final state is its last one."""
    if _locked(connection, job_id) == (fence, state):
        return  # said before: the answer was lost
    _hold(connection, job_id, fence)
    outcome = {
        "result": result and journal.storable(result.model_dump(mode="json")),
        "failure": failure and journal.storable(failure.model_dump(mode="json")),
    }
    ended = update(jobs).where(jobs.c.id == job_id).values(state=state, ended_at=now(), publishing=False, **outcome)
    attempt = connection.execute(ended.returning(jobs.c.attempt)).scalar_one()
    if outcome["result"]:
        journal.append(connection, job_id, "result", outcome["result"], f"{mark}-result")
    data = {"state": state, "attempt": attempt}
    journal.append(connection, job_id, "state", data | ({"failure": outcome["failure"]} if failure else {}), mark)


def permit(connection: Connection, job_id: str, fence: int) -> Literal["run", "cancel"]:
    """Grant the permission to publish, unless the job is to be cancelled; `orders.cancel` looks at it."""
    if _hold(connection, job_id, fence) == "cancelling":
        return "cancel"
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(publishing=True))
    return "run"


def release(connection: Connection, job_id: str, fence: int, mark: str) -> None:
    """Give a job back, to be gone on with by any worker: an orderly end, which is none of the job's futile starts.

    A permission to publish stays: the bundle may be there.
    """
    if _locked(connection, job_id) and journal.written(connection, job_id, mark):
        return
    _hold(connection, job_id, fence)
    state, attempt = connection.execute(select(*jobs.c["state", "attempt"]).where(jobs.c.id == job_id)).one()
    fewer = case((jobs.c.starts > 0, jobs.c.starts - 1), else_=0)
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(starts=fewer))
    staff.put_back(connection, job_id, state, attempt, mark)


def wanted(connection: Connection, job_id: str, fence: int) -> Literal["run", "cancel"]:
    """What is to become of a run."""
    found = connection.execute(select(*jobs.c["fence", "state"]).where(jobs.c.id == job_id)).one_or_none()
    return "cancel" if _checked(job_id, fence, found and (found.fence, found.state)) == "cancelling" else "run"


def _hold(connection: Connection, job_id: str, fence: int) -> str:
    """Lock the job's row until the end of the transaction, if this execution is the one that counts; its state."""
    return _checked(job_id, fence, _locked(connection, job_id))


def _locked(connection: Connection, job_id: str) -> tuple[int, str] | None:
    query = select(*jobs.c["fence", "state"]).where(jobs.c.id == job_id).with_for_update()
    found = connection.execute(query).one_or_none()
    return found and (found.fence, found.state)


def _checked(job_id: str, fence: int, found: tuple[int, str] | None) -> str:
    if found is None:
        raise JobNotFoundError(f"there is no job {job_id!r}; the list of jobs says which there are")
    current, state = found
    if current != fence:
        raise FencedError(f"job {job_id} was given away: it has fence {current}, this execution has {fence}; stop")
    if state not in HELD:
        raise FencedError(f"job {job_id} is {state} and not run by anybody; stop")
    return state
