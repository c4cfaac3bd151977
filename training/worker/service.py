"""The worker: takes the next job that its device can run, sees it through, and looks after what the dead have left."""

import contextlib
import logging
import threading
import time
from typing import Any

from bundle.store import Store
from jobs.database import open_database
from jobs.errors import DatabaseError, FencedError, JobHeldError
from jobs.ledger import Ledger
from jobs.model import Failure, Job, Result
from training.worker import device, failures, quota
from training.worker.delivery import deliver
from training.worker.durable import DurableQueue
from training.worker.execution import Cancelled, Execution, Leave, Superseded
from training.worker.link import Link
from training.worker.protocol import Published
from training.worker.roll import Roll
from training.worker.settings import WorkerSettings

_log = logging.getLogger(__name__)

_PATIENCE_S = 2.0  # of one call; whoever makes it tries again for as long as it takes
_RETRY_S = 1.0
_PARTING_S = 10.0  # for what a worker that ends still has to write


class Worker:
    """One worker process. Runs one job at a time."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Nothing is connected yet.

        Raises:
            DatabaseError: If the database's URL is none.
            DeviceError: If the device is none.
        """
        self.settings = settings
        self.leaving = threading.Event()
        self._database = open_database(settings.database, password_file=settings.password_file)
        self._ledger = Ledger(self._database, patience_s=_PATIENCE_S, lapse_s=settings.lapse_s)
        self._roll = Roll(Ledger(self._database, lapse_s=settings.lapse_s), settings)
        self._queue = DurableQueue(self._database, settings.instance, device.kind(settings.device), settings.poll_s)
        self._store = Store(settings.store)
        self._running: set[str] = set()  # workflows whose body is executing
        self._idle = threading.Event()
        self._idle.set()
        self._parted_at: float | None = None

    def run(self) -> None:
        """Work until `leaving` is set; then give back what is running, and end."""
        try:
            if self._open():
                _log.info(
                    "worker %s takes jobs for %s from %s",
                    self.settings.instance,
                    self.settings.device,
                    self._database.shown,
                )
                # DBOS's calls wait for a database that is away: a worker that is to leave must not wait with them.
                threading.Thread(target=self._look_for_work, name="look", daemon=True).start()
                self.leaving.wait()
        finally:
            self.leaving.set()
            self._parted_at = time.monotonic() + _PARTING_S
            self._idle.wait(self.settings.grace_s + _PARTING_S)
            self._queue.close()
            self._roll.close()
            _log.info("worker %s has left", self.settings.instance)

    def _open(self) -> bool:
        """Wait for the database, and enter ourselves; False if we are to leave before it is there."""
        said = ""
        while not self.leaving.is_set():
            try:
                self._ledger.ping()
                self._roll.open()  # first: what DBOS gives to somebody who is not on the roll is taken for a dead one's
                self._queue.open(self._execute)
                return True
            except Exception as error:  # DBOS's have no common base; a database that is away is none of the worst
                if str(error) != said:
                    _log.warning("waiting for the database: %s", error)
                said = str(error)
                self._queue.close()
                self.leaving.wait(_RETRY_S)
        return False

    def _look_for_work(self) -> None:
        strays: set[str] = set()
        forgotten: set[tuple[str, int]] = set()
        while not self.leaving.wait(self.settings.poll_s):
            strays = self._look_around(strays)
            forgotten = self._release_forgotten(forgotten)

    def _look_around(self, strays: set[str]) -> set[str]:
        """Bury the dead, recover what they had, and take the next job. Returns what DBOS gave us and we do not run."""
        try:
            held = self._queue.held()  # before the roll: whoever holds something now is on it
            self._queue.recover({one.executor for one in held} - self._roll.present())
            ours = {one.workflow for one in held if one.executor == self.settings.instance} - self._running
            for workflow in ours & strays:  # twice in a row: its dispatch has failed
                _log.warning("workflow %s was ours and did not start; back into the queue", workflow)
                self._queue.retake(workflow)
            if self._idle.is_set() and not ours:
                self._adopt()
            return ours - strays
        except DatabaseError as error:
            _log.debug("%s", error)
        except Exception:  # DBOS's errors have no common base; whatever it is, the next look may fare better
            if not self.leaving.is_set():
                _log.warning("could not look for work", exc_info=True)
        return set()

    def _release_forgotten(self, seen: set[tuple[str, int]]) -> set[tuple[str, int]]:
        """Give back what the ledger says is ours and nobody here runs: its execution ended without a word.

        Only what the look before has `seen` too, since between a start's or an end's two writes all is well.
        """
        try:
            ours = {(job.id, job.fence) for job in self._ledger.held_by(self.settings.instance) if self._forgot(job)}
            for job_id, fence in ours & seen:
                _log.warning("job %s was ours and is not running; back into the queue", job_id)
                with contextlib.suppress(FencedError):
                    self._ledger.release(job_id, fence)
            return ours - seen
        except DatabaseError as error:
            _log.debug("%s", error)
        except Exception:  # as with every look: the next one may fare better
            _log.warning("could not look for what was forgotten", exc_info=True)
        return set()

    def _forgot(self, job: Job) -> bool:
        return f"{job.id}-{job.attempt}" not in self._running

    def _adopt(self) -> None:
        """Give the first job that we can run to the durable queue, unless something waits there for us already."""
        if self._queue.holds_work():
            return
        for job in self._ledger.waiting():
            if device.suits(job.device, self.settings.device) and self._queue.ensure(job):
                return

    def _execute(self, job_id: str, attempt: int) -> None:
        """A workflow: one attempt of a job. Called by DBOS in a thread of its own."""
        workflow = f"{job_id}-{attempt}"
        self._running.add(workflow)
        self._idle.clear()
        try:
            job = self._start(job_id, attempt)
            if job is not None:
                self._see_through(job)
        finally:
            self._running.discard(workflow)
            self._roll.job = None
            if not self._running:
                self._idle.set()

    def _start(self, job_id: str, attempt: int) -> Job | None:
        while not self.leaving.is_set():
            try:
                wanted = self._ledger.get(job_id).device
                if not device.suits(wanted, self.settings.device):  # a queue is of a kind of device, not of one
                    _log.info("job %s is for %s; it waits for a worker of that", job_id, wanted)
                    return None
                job = self._ledger.start(job_id, attempt, self.settings.instance)
                self._roll.job = job_id if job else None
                return job
            except JobHeldError as error:
                _log.info("%s", error)
            except DatabaseError as error:
                _log.warning("job %s waits for the database: %s", job_id, error)
            self.leaving.wait(_RETRY_S)
        raise Leave

    def _see_through(self, job: Job) -> None:
        _log.info("job %s: %s (%s), attempt %d, fence %d", job.id, job.name, job.family, job.attempt, job.fence)
        link = Link(self._ledger, job.id, job.fence)
        try:
            self._end(job, link, self._queue.step("train", lambda: self._train(job, link)))
            self._make_room()
        except Superseded:
            _log.info("job %s is somebody else's now", job.id)
        except Leave:
            _log.info("job %s goes back to the queue", job.id)
            link.release(self._parted)
            raise
        except Exception as error:
            if self._queue.lost(error):
                raise
            _log.exception("job %s", job.id)  # a job that cannot even be ended must not stay as it is
            link.finish("failed", self._parted, failure=failures.explained(error))
        finally:
            link.close()

    def _train(self, job: Job, link: Link) -> dict[str, Any]:
        try:
            answer = Execution(job, link, self.settings, self.leaving).answer()
        except Cancelled:
            return {"state": "cancelled"}
        except Exception as error:  # whatever a job does to us, the next one has its turn
            _log.exception("job %s", job.id)
            answer = failures.explained(error)
        state = "succeeded" if isinstance(answer, Published) else "failed"
        return {"state": state, "answer": answer.model_dump(mode="json")}

    def _end(self, job: Job, link: Link, ending: dict[str, Any]) -> None:
        result, failure = None, None
        if ending["state"] == "succeeded":
            published = Published.model_validate(ending["answer"])
            made = self._queue.step(
                "deliver", lambda: deliver(self._store, self._database, job, published).model_dump()
            )
            result = Result.model_validate(made)
        elif ending["state"] == "failed":
            failure = Failure.model_validate(ending["answer"])
        if not link.finish(ending["state"], self._parted, result, failure):
            if link.wanted == "nothing":
                raise Superseded
            raise Leave
        _log.info("job %s: %s%s", job.id, ending["state"], f" ({failure.code}: {failure.message})" if failure else "")

    def _parted(self) -> bool:
        """Whether a worker that ends has waited long enough for the database."""
        return self._parted_at is not None and time.monotonic() > self._parted_at

    def _make_room(self) -> None:
        try:
            quota.keep_within(self.settings.runs / "jobs", self.settings.quota_bytes, quota.over(self._ledger))
        except (OSError, DatabaseError) as error:
            _log.warning("could not see to the quota: %s", error)
