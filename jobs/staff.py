"""The workers: who is there, who beats, who is dead."""

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from jobs import journal
from jobs.clock import age, now, silence
from jobs.errors import JobNotFoundError
from jobs.model import FINAL, HELD, WorkerInfo
from jobs.tables import jobs, workers

_REMEMBERED_S = 86_400.0  # how long a worker that is gone stays in the list


def everybody(connection: Connection, lapse_s: float) -> list[WorkerInfo]:
    """All workers, those that are gone until a day later; the youngest first."""
    return _infos(connection, lapse_s, None)


def lapsed(connection: Connection, lapse_s: float) -> list[WorkerInfo]:
    """Workers to be buried, and those that are gone and whose job nobody has taken over yet."""
    orphans = exists().where(jobs.c.holder == workers.c.instance, jobs.c.state.not_in(FINAL))
    dead = and_(workers.c.gone_at.is_(None), silence(workers.c.beat_at) > lapse_s)
    return _infos(connection, lapse_s, or_(dead, and_(workers.c.gone_at.is_not(None), orphans)))


def is_alive(connection: Connection, instance: str | None, lapse_s: float) -> bool:
    """Whether a worker is there and has beaten lately."""
    query = select(func.count()).where(workers.c.instance == instance, _alive(lapse_s))
    return instance is not None and connection.execute(query).scalar_one() > 0


def present(connection: Connection) -> set[str]:
    """Workers that are neither gone nor buried."""
    return set(connection.execute(select(workers.c.instance).where(workers.c.gone_at.is_(None))).scalars())


def register(connection: Connection, info: WorkerInfo) -> None:
    """Write a worker down; one that is known already starts anew. Those long gone are forgotten."""
    given = info.model_dump(include={"name", "host", "pid", "device"})
    fresh = {**given, "started_at": now(), "beat_at": now(), "job": None, "gone_at": None}
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    written = dialect.insert(workers).values(instance=info.instance, **fresh)
    connection.execute(written.on_conflict_do_update(index_elements=["instance"], set_=fresh))
    held = exists().where(jobs.c.holder == workers.c.instance, jobs.c.state.not_in(FINAL))
    connection.execute(delete(workers).where(age(workers.c.gone_at) > _REMEMBERED_S, ~held))


def beat(connection: Connection, instance: str, job: str | None) -> None:
    """Note that a worker lives; one that was buried too early is back."""
    known = connection.execute(
        update(workers).where(workers.c.instance == instance).values(beat_at=now(), job=job, gone_at=None)
    )
    if known.rowcount == 0:
        raise JobNotFoundError(f"worker {instance!r} is not known here (any more); register it first")


def bury(connection: Connection, instance: str, mark: str) -> bool:
    """Declare a worker gone, and put what it ran back into the queue.

    Returns:
        Whether this call did it, and no earlier one.
    """
    gone = connection.execute(
        update(workers)
        .where(workers.c.instance == instance, workers.c.gone_at.is_(None))
        .values(gone_at=now(), job=None)
    )
    held = select(*jobs.c["id", "state", "attempt"]).where(jobs.c.holder == instance, jobs.c.state.in_(HELD))
    for job in connection.execute(held.order_by(jobs.c.id).with_for_update()).all():
        put_back(connection, job.id, job.state, job.attempt, mark)
    return gone.rowcount > 0


def put_back(connection: Connection, job: str, state: str, attempt: int, mark: str) -> None:
    """Take a job, whose row is locked, from its worker: to the queue, or to its end if it is to be cancelled.

    Either way the worker's fence is not good any more.
    """
    over = state == "cancelling"
    values = {"state": "cancelled", "ended_at": now()} if over else {"state": "queued"}
    connection.execute(update(jobs).where(jobs.c.id == job).values(fence=jobs.c.fence + 1, **values))
    journal.append(connection, job, "state", {"state": values["state"], "attempt": attempt}, mark)


def _alive(lapse_s: float) -> ColumnElement[bool]:
    return and_(workers.c.gone_at.is_(None), silence(workers.c.beat_at) <= lapse_s)


def _infos(connection: Connection, lapse_s: float, which: ColumnElement[bool] | None) -> list[WorkerInfo]:
    columns = [column for column in workers.c if column.name in WorkerInfo.model_fields]
    query = select(*columns, _alive(lapse_s).label("alive")).order_by(workers.c.started_at.desc(), workers.c.instance)
    if which is not None:
        query = query.where(which)
    return [WorkerInfo.model_validate(dict(row)) for row in connection.execute(query).mappings()]
