"""The ledger: every change of a job is one transaction of one of these methods."""

import uuid
from collections.abc import Callable, Collection
from typing import Any, Literal, TypeVar

from sqlalchemy import Connection, select

from jobs import execution, journal, orders, staff
from jobs.database import Database
from jobs.model import FINAL, Event, Failure, Job, NewJob, Progress, Result, State, WorkerInfo

T = TypeVar("T")

# `list` is a method below.
Jobs = list[Job]
Events = list[Event]
Workers = list[WorkerInfo]

LAPSE_S = 20.0  # a worker that has not beaten for so long is dead


class Ledger:
    """Jobs, events and workers in a database. Safe to use from several threads and processes.

    Args:
        database: From `open_database`.
        patience_s: How long every method tries again when the database cannot be reached; a worker waits, the
            service does not.
        lapse_s: How long after its last beat a worker counts as alive, by the database's clock.

    Every method raises `DatabaseError` if the database could not be used in that time, and `JobNotFoundError` for an
    unknown job. Methods may be repeated: a call whose answer was lost does nothing twice.
    """

    def __init__(self, database: Database, *, patience_s: float = 0.0, lapse_s: float = LAPSE_S) -> None:
        self.database = database
        self._patience_s = patience_s
        self._lapse_s = lapse_s

    # Of the service.

    def submit(self, new: NewJob) -> tuple[Job, bool]:
        """Take an order.

        Returns:
            The job, and whether it is new: an order with a key that was seen before is the job of that time.

        Raises:
            IdempotencyError: If the key was seen before with another order.
        """
        if new.idempotency_key is None:  # a repeated call finds its own order by it
            new = new.model_copy(update={"idempotency_key": f"once-{uuid.uuid4().hex}"})
        job_id = orders.new_id()
        return self._write(lambda connection: orders.submit(connection, new, job_id))

    def seen(self, key: str, request_hash: str) -> Job | None:
        """The job that was ordered with an idempotency key, None if there is none yet.

        Args:
            key: As in `NewJob`.
            request_hash: As in `NewJob`; the order has to have come with it.

        Raises:
            IdempotencyError: If the key was seen before with another order.
        """
        return self._read(lambda connection: orders.seen(connection, key, request_hash))

    def get(self, job_id: str) -> Job:
        """A job as it is now. One that is to be cancelled and whose worker is dead is cancelled by being looked at."""
        return self._settled(self._read(lambda connection: orders.get(connection, job_id)))

    def list(
        self,
        states: Collection[State] | None = None,
        name: str | None = None,
        family: str | None = None,
        limit: int = 50,
        before: str | None = None,
    ) -> Jobs:
        """Jobs, newest first.

        Args:
            states, name, family: Only those; None is all.
            limit: At most so many.
            before: Id of the last job of the page before.
        """
        found = self._read(lambda connection: orders.find(connection, states, name, family, limit, before))
        return [self._settled(job) for job in found]

    def cancel(self, job_id: str) -> Job:
        """Cancel a job: at once if no worker that is alive runs it, else it is `cancelling` until it has stopped.

        Raises:
            JobStateError: If it is over, or is being published.
        """
        mark = _mark()
        return self._write(lambda connection: orders.cancel(connection, job_id, self._lapse_s, mark))

    def resume(self, job_id: str) -> Job:
        """Queue a cancelled or failed job again, to go on from its checkpoint: its next attempt.

        Raises:
            JobStateError: If it is neither.
        """
        mark = _mark()
        return self._write(lambda connection: orders.resume(connection, job_id, mark))

    def events(self, job_id: str, after: int = 0, limit: int = 500) -> Events:
        """Events with a number above `after`, in order, at most `limit`."""

        def work(connection: Connection) -> Events:
            orders.row(connection, job_id)
            return journal.read(connection, job_id, after, limit)

        return self._read(work)

    def read_picture(self, job_id: str, event_id: int) -> bytes:
        """The PNG of an event of the kind `picture`.

        Raises:
            JobNotFoundError: If there is none; the middle ones of a long run are dropped.
        """
        return self._read(lambda connection: journal.picture(connection, job_id, event_id))

    def workers(self) -> Workers:
        """All workers, those that are gone for a day longer; the youngest first."""
        return self._read(lambda connection: staff.everybody(connection, self._lapse_s))

    def ping(self) -> None:
        """Ask the database for an answer."""
        self._read(lambda connection: connection.execute(select(1)).scalar_one())

    # Of the workers.

    def waiting(self) -> Jobs:
        """Jobs that nobody runs and somebody should: higher priority first, then the older."""
        return self._read(orders.waiting)

    def start(self, job_id: str, attempt: int, instance: str) -> Job | None:
        """Begin to run a job, or take over what a dead worker has left. Its fence is a new one, older ones are void.

        Args:
            attempt: The attempt that is to be run.
            instance: Of the worker, which must be registered, and beat from here on.

        Returns:
            The job, now `running`, or None if it is not to be run: cancelled, over, or at another attempt. A job that
            was to be cancelled when its worker died is cancelled by this; one that lost five workers in a row without
            getting further has `failed` by it.

        Raises:
            JobHeldError: If another worker runs it and is alive. It may die yet, so this is not an end: ask again.
        """
        mark = _mark()
        return self._write(
            lambda connection: execution.start(connection, job_id, attempt, instance, self._lapse_s, mark)
        )

    def progress(self, job_id: str, fence: int, progress: Progress, store_event: bool) -> None:
        """Say how far a run is.

        Args:
            fence: Of the execution, as `start` gave it.
            store_event: Whether it is worth an event. At most one per second becomes one.

        Raises:
            FencedError: If this execution is not the one that counts any more. So do all methods that take a fence.
        """
        mark = _mark()
        self._write(lambda connection: execution.progress(connection, job_id, fence, progress, store_event, mark))

    def epoch(self, job_id: str, fence: int, data: dict[str, Any]) -> None:
        """Write that an epoch is over; `data` is JSON, figures that are no numbers become null."""
        self._happened(job_id, fence, "epoch", data)

    def log(self, job_id: str, fence: int, data: dict[str, Any]) -> None:
        """Write a line of the log; `data` is JSON, usually `{"message": …}`. Of very many the middle is dropped."""
        self._happened(job_id, fence, "log", data)

    def picture(self, job_id: str, fence: int, png: bytes, data: dict[str, Any]) -> None:
        """Write a picture. 200 of a job keep their PNG, the first and the last ones."""
        mark = _mark()
        self._write(lambda connection: execution.picture(connection, job_id, fence, png, data, mark))

    def finish(
        self, job_id: str, fence: int, state: State, result: Result | None = None, failure: Failure | None = None
    ) -> None:
        """Write how a job ended; it may be said again.

        Raises:
            ValueError: If the state is not final, `succeeded` comes without result or `failed` without failure.
        """
        if state not in FINAL or (state == "succeeded") != (result is not None) or (state == "failed") != bool(failure):
            raise ValueError(
                f"a job cannot finish as {state} with result {result} and failure {failure}; succeeded has a result, "
                "failed a failure, cancelled neither"
            )
        mark = _mark()
        self._write(lambda connection: execution.finish(connection, job_id, fence, state, result, failure, mark))

    def permit(self, job_id: str, fence: int) -> Literal["run", "cancel"]:
        """Ask for permission to publish, which is granted by "run".

        From then on, and with whoever takes the job over, it cannot be cancelled: its bundle may be in the store.
        """
        return self._write(lambda connection: execution.permit(connection, job_id, fence))

    def release(self, job_id: str, fence: int) -> None:
        """Put a running job back into the queue, same attempt, for whoever goes on from its checkpoint.

        One that is to be cancelled is cancelled.
        """
        mark = _mark()
        self._write(lambda connection: execution.release(connection, job_id, fence, mark))

    def wanted(self, job_id: str, fence: int) -> Literal["run", "cancel"]:
        """What is to become of a run."""
        return self._read(lambda connection: execution.wanted(connection, job_id, fence))

    def held_by(self, instance: str) -> Jobs:
        """Jobs that a worker runs as far as the ledger knows."""
        return self._read(lambda connection: orders.held_by(connection, instance))

    def present(self) -> set[str]:
        """Workers that are neither gone nor buried, whether they beat or not."""
        return self._read(staff.present)

    def register(self, worker: WorkerInfo) -> None:
        """Write a worker down, alive from now on. Its instance must be of this process alone."""
        self._write(lambda connection: staff.register(connection, worker))

    def beat(self, instance: str, job: str | None) -> None:
        """Say that a worker lives, and what it runs. One that was buried too early is alive again, without its job.

        Raises:
            JobNotFoundError: If the worker is not registered.
        """
        self._write(lambda connection: staff.beat(connection, instance, job))

    def lapsed(self, lapse_s: float | None = None) -> Workers:
        """Workers that have not beaten for `lapse_s` (time in which the database was down does not count), and
        those gone whose job nobody has started again: what is to be buried and taken over, until it is.
        """
        return self._read(lambda connection: staff.lapsed(connection, self._lapse_s if lapse_s is None else lapse_s))

    def bury(self, instance: str) -> bool:
        """Declare a worker dead. Its jobs are `queued` again (same attempt, `waiting` has them) or, where they were
        to be cancelled, `cancelled`; what it still writes is fenced off.

        Returns:
            Whether this call did it, and no earlier one.
        """
        mark = _mark()
        return self._write(lambda connection: staff.bury(connection, instance, mark))

    def leave(self, instance: str) -> None:
        """As `bury`, by the worker itself at its orderly end."""
        self.bury(instance)

    def _settled(self, job: Job) -> Job:
        if job.state != "cancelling":
            return job
        mark = _mark()
        return self._write(lambda connection: orders.settle_orphan(connection, job.id, self._lapse_s, mark))

    def _happened(self, job_id: str, fence: int, kind: Literal["epoch", "log"], data: dict[str, Any]) -> None:
        mark = _mark()
        self._write(lambda connection: execution.happened(connection, job_id, fence, kind, data, mark))

    def _read(self, work: Callable[[Connection], T]) -> T:
        return self.database.read(work, self._patience_s)

    def _write(self, work: Callable[[Connection], T]) -> T:
        return self.database.write(work, self._patience_s)


def _mark() -> str:
    return uuid.uuid4().hex
