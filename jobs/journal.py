"""The events of a job: numbered, announced, bounded, read."""

import math
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update
from sqlalchemy.engine import RowMapping

from jobs import notify
from jobs.clock import now
from jobs.errors import JobNotFoundError
from jobs.model import Event, Kind
from jobs.tables import events, jobs, pictures

KEPT_PICTURES = 200  # of a job, with their PNG
KEPT_EVENTS: dict[Kind, int] = {"progress": 7200, "log": 2000, "epoch": 5000}  # of a job
_COUNT_EVERY = 64  # events between two looks at how many there are
_TEXT_CHARS = 8000  # of one text in an event


def append(connection: Connection, job: str, kind: Kind, data: dict[str, Any], mark: str) -> int | None:
    """Write a job's next event, in the transaction of what happened, and announce it.

    The job's row is locked from here to the commit: numbers have no gaps, and nobody sees 5 before 4.

    Args:
        mark: Of the call; None is answered if the event of this mark is there already.
    """
    number = connection.execute(
        update(jobs)
        .where(jobs.c.id == job)
        .values(last_event=jobs.c.last_event + 1, updated_at=now())
        .returning(jobs.c.last_event)
    ).scalar_one()
    if written(connection, job, mark):
        connection.execute(update(jobs).where(jobs.c.id == job).values(last_event=number - 1))
        return None
    connection.execute(insert(events).values(job=job, id=number, at=now(), kind=kind, data=storable(data), mark=mark))
    notify.announce_job(connection, job)
    if kind in KEPT_EVENTS and number % _COUNT_EVERY == 0:
        _drop_events(connection, job, kind)
    return int(number)


def written(connection: Connection, job: str, mark: str) -> bool:
    """Whether a call has written its event before; to be asked while the job's row is locked."""
    return connection.execute(select(events.c.id).where(events.c.job == job, events.c.mark == mark)).first() is not None


def append_picture(connection: Connection, job: str, png: bytes, data: dict[str, Any], mark: str) -> None:
    """Write a picture's event and its PNG, and drop the PNG of another one where there are too many."""
    number = append(connection, job, "picture", data, mark)
    if number is None:
        return
    connection.execute(insert(pictures).values(job=job, event=number, png=png))
    kept = connection.execute(select(pictures.c.event).where(pictures.c.job == job).order_by(pictures.c.event))
    for old in surplus(list(kept.scalars()), KEPT_PICTURES):
        connection.execute(delete(pictures).where(pictures.c.job == job, pictures.c.event == old))
        where = (events.c.job == job, events.c.id == old)
        before = connection.execute(select(events.c.data).where(*where)).scalar_one()
        connection.execute(update(events).where(*where).values(data={**before, "dropped": True}))


def read(connection: Connection, job: str, after: int, limit: int) -> list[Event]:
    """Events with a number above `after`, in order."""
    query = select(*events.c["id", "job", "at", "kind", "data"]).where(events.c.job == job, events.c.id > after)
    return [_event(row) for row in connection.execute(query.order_by(events.c.id).limit(limit)).mappings()]


def picture(connection: Connection, job: str, event: int) -> bytes:
    """The PNG of an event.

    Raises:
        JobNotFoundError: If the event has none, or it was dropped.
    """
    query = select(pictures.c.png).where(pictures.c.job == job, pictures.c.event == event)
    png: bytes | None = connection.execute(query).scalar_one_or_none()
    if png is not None:
        return png
    found = connection.execute(select(events.c.kind).where(events.c.job == job, events.c.id == event)).scalar()
    if found == "picture":
        raise JobNotFoundError(f"picture {event} of job {job} was dropped: the first and the last of a run are kept")
    raise JobNotFoundError(f"job {job} has no picture {event}; its events of the kind 'picture' say which there are")


def surplus(numbers: list[int], keep: int) -> list[int]:
    """Which of a job's events to drop so that `keep` stay: the oldest of the middle, never the first tenth."""
    first = keep // 10
    return numbers[first : first + max(0, len(numbers) - keep)]


def storable(value: Any) -> Any:
    """A JSON value as both databases take it: no NaN (null instead), no NUL and no half characters in texts."""
    if isinstance(value, dict):
        return {storable(str(key)): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value[:_TEXT_CHARS].replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")
    return value


def _drop_events(connection: Connection, job: str, kind: Kind) -> None:
    of_kind = (events.c.job == job, events.c.kind == kind)
    if connection.execute(select(func.count()).where(*of_kind)).scalar_one() <= KEPT_EVENTS[kind]:
        return
    numbers = connection.execute(select(events.c.id).where(*of_kind).order_by(events.c.id)).scalars()
    old = surplus(list(numbers), KEPT_EVENTS[kind])
    connection.execute(delete(events).where(*of_kind, events.c.id.between(old[0], old[-1])))


def _event(row: RowMapping) -> Event:
    return Event.model_validate(dict(row))
