"""What the service does to jobs: take orders, show, cancel, resume."""

import hashlib
import json
import secrets
import time
from collections.abc import Collection

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import RowMapping

from jobs import journal, staff
from jobs.clock import now
from jobs.errors import IdempotencyError, JobNotFoundError, JobStateError
from jobs.model import FINAL, HELD, Job, NewJob, State
from jobs.tables import jobs

_COLUMNS = [column for column in jobs.c if column.name in Job.model_fields]


def submit(connection: Connection, new: NewJob, job_id: str) -> tuple[Job, bool]:
    """Write an order down, unless one with its key is there."""
    order = _order_hash(new)
    values = {
        **{key: getattr(new, key) for key in ("priority", "promotion", "device", "recipe", "idempotency_key")},
        **{"id": job_id, "name": new.name, "family": new.family, "order_hash": order, "state": "queued", "attempt": 1},
        **{"fence": 0, "cancel_requested": False, "last_event": 0, "created_at": now(), "updated_at": now()},
    }
    if new.idempotency_key is None:
        connection.execute(insert(jobs).values(values))
    else:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        taken = dialect.insert(jobs).values(values).on_conflict_do_nothing(index_elements=["idempotency_key"])
        if connection.execute(taken.returning(jobs.c.id)).first() is None:
            same = _same(connection, new.idempotency_key, order)
            return same, same.id == job_id
    journal.append(connection, job_id, "state", {"state": "queued", "attempt": 1}, mark=f"submit-{job_id}")
    return get(connection, job_id), True


def seen(connection: Connection, key: str, request_hash: str) -> Job | None:
    """The job of an order with this key, if there is one.

    Raises:
        IdempotencyError: If something else was asked for with it.
    """
    known = connection.execute(select(jobs.c.id).where(jobs.c.idempotency_key == key)).first()
    return None if known is None else _same(connection, key, request_hash)


def get(connection: Connection, job_id: str) -> Job:
    """A job as it is.

    Raises:
        JobNotFoundError: If there is none with this id.
    """
    return job_of(row(connection, job_id))


def find(
    connection: Connection,
    states: Collection[State] | None,
    name: str | None,
    family: str | None,
    limit: int,
    before: str | None,
) -> list[Job]:
    """Jobs of all the given properties, newest first."""
    query = select(*_COLUMNS, jobs.c.holder)
    if states is not None:
        query = query.where(jobs.c.state.in_(list(states)))
    if name is not None:
        query = query.where(jobs.c.name == name)
    if family is not None:
        query = query.where(jobs.c.family == family)
    if before is not None:
        query = query.where(jobs.c.id < before)
    found = connection.execute(query.order_by(jobs.c.id.desc()).limit(limit)).mappings()
    return [job_of(one) for one in found]


def waiting(connection: Connection) -> list[Job]:
    """Jobs that no worker runs: higher priority first, then the older."""
    query = select(*_COLUMNS, jobs.c.holder).where(jobs.c.state == "queued")
    found = connection.execute(query.order_by(jobs.c.priority.desc(), jobs.c.created_at, jobs.c.id)).mappings()
    return [job_of(one) for one in found]


def held_by(connection: Connection, instance: str) -> list[Job]:
    """Jobs that a worker runs."""
    query = select(*_COLUMNS, jobs.c.holder).where(jobs.c.holder == instance, jobs.c.state.in_(HELD))
    return [job_of(one) for one in connection.execute(query).mappings()]


def cancel(connection: Connection, job_id: str, lapse_s: float, mark: str) -> Job:
    """Ask for the end of a job; one that nobody alive runs is over at once."""
    job = get_locked(connection, job_id)
    if journal.written(connection, job_id, mark):
        return job
    if job.state in FINAL:
        raise JobStateError(f"job {job_id} is {job.state}; only a job that is queued or running can be cancelled")
    if connection.execute(select(jobs.c.publishing).where(jobs.c.id == job_id)).scalar_one():
        raise JobStateError(f"job {job_id} is being published; it cannot be cancelled any more, wait for its end")
    if job.state == "queued" or not staff.is_alive(connection, job.worker, lapse_s):
        return settle_cancelled(connection, job, mark)
    if job.state == "running":
        connection.execute(update(jobs).where(jobs.c.id == job_id).values(state="cancelling", cancel_requested=True))
        journal.append(connection, job_id, "state", {"state": "cancelling", "attempt": job.attempt}, mark)
    return get(connection, job_id)


def settle_orphan(connection: Connection, job_id: str, lapse_s: float, mark: str) -> Job:
    """End a job that is to be cancelled, if its worker is dead: where no other worker is, nobody else would."""
    job = get_locked(connection, job_id)
    if job.state == "cancelling" and not staff.is_alive(connection, job.worker, lapse_s):
        return settle_cancelled(connection, job, mark)
    return job


def settle_cancelled(connection: Connection, job: Job, mark: str) -> Job:
    """End a job that is to be cancelled and that nobody runs; whoever ran it may write no more."""
    connection.execute(
        update(jobs)
        .where(jobs.c.id == job.id)
        .values(state="cancelled", cancel_requested=True, fence=jobs.c.fence + 1, ended_at=now())
    )
    journal.append(connection, job.id, "state", {"state": "cancelled", "attempt": job.attempt}, mark)
    return get(connection, job.id)


def resume(connection: Connection, job_id: str, mark: str) -> Job:
    """Put a job that was cancelled or failed back into the queue, as its next attempt."""
    job = get_locked(connection, job_id)
    if journal.written(connection, job_id, mark):
        return job
    if job.state not in ("cancelled", "failed"):
        raise JobStateError(f"job {job_id} is {job.state}; only a job that was cancelled or failed can be resumed")
    fresh = dict.fromkeys(("started_at", "ended_at", "holder", "failure", "result"))
    counted = {"attempt": jobs.c.attempt + 1, "fence": jobs.c.fence + 1, "starts": 0, "publishing": False}
    connection.execute(
        update(jobs).where(jobs.c.id == job_id).values(state="queued", cancel_requested=False, **counted, **fresh)
    )
    journal.append(connection, job_id, "state", {"state": "queued", "attempt": job.attempt + 1}, mark)
    return get(connection, job_id)


def get_locked(connection: Connection, job_id: str) -> Job:
    """A job whose row stays as it is until the end of the transaction."""
    return job_of(row(connection, job_id, lock=True))


def row(connection: Connection, job_id: str, *, lock: bool = False) -> RowMapping:
    """A job's row.

    Raises:
        JobNotFoundError: If there is none with this id.
    """
    query = select(*_COLUMNS, jobs.c.holder).where(jobs.c.id == job_id)
    found = connection.execute(query.with_for_update() if lock else query).mappings().one_or_none()
    if found is None:
        raise JobNotFoundError(f"there is no job {job_id!r}; the list of jobs says which there are")
    return found


def job_of(found: RowMapping) -> Job:
    """A row as a job."""
    values = dict(found)
    holder = values.pop("holder")
    return Job.model_validate({**values, "worker": None if found["state"] == "queued" else holder})


def new_id() -> str:
    """An id that sorts by time: microseconds since 1970, then 40 random bits, in hexadecimal."""
    return f"{time.time_ns() // 1000:014x}{secrets.token_hex(5)}"


def _same(connection: Connection, key: str, order: str) -> Job:
    query = select(*_COLUMNS, jobs.c.holder, jobs.c.order_hash).where(jobs.c.idempotency_key == key)
    found = dict(connection.execute(query).mappings().one())
    if found.pop("order_hash") != order:
        raise IdempotencyError(
            f"the idempotency key {key!r} belongs to job {found['id']}, which was ordered otherwise; use a new key"
        )
    return get(connection, found["id"])


def _order_hash(new: NewJob) -> str:
    if new.request_hash is not None:
        return new.request_hash
    order = new.model_dump(mode="json", exclude={"idempotency_key", "request_hash"})
    return hashlib.sha256(json.dumps(order, sort_keys=True).encode()).hexdigest()
