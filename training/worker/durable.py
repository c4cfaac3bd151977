"""The durable queue: DBOS, told what we know. It says which worker runs what, and keeps saying so when workers die.

What DBOS is trusted with, and what not, stands in `docs/decisions/0008-durable-queue.md`. Nothing else imports it.
"""

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, Queue, SetEnqueueOptions, SetWorkflowID
from dbos import error as dbos_error

from jobs.database import Database
from jobs.model import Job

_NAME = "genserve"
_WORKFLOW = "training"
_VERSION = "1"  # of the workflow's steps: work is recovered by programs of the same version only
_POOL = 6
_SAME_AGAIN_S = 60.0
_LONGEST_LINE = 300  # characters
_OVER = ("SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED")
# A server that vanished without a word is noticed in seconds, as the ledger's own connections do.
_CONNECT_ARGS = {
    "application_name": "genserve-dbos",
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}


@dataclass(frozen=True)
class Held:
    """An execution that DBOS believes to be going on."""

    workflow: str
    executor: str


class DurableQueue:
    """The queue of one kind of device. One per process: DBOS is global."""

    def __init__(self, database: Database, instance: str, kind: str, poll_s: float) -> None:
        self._database = database
        self._instance = instance
        self._name = f"training-{kind}"
        self._poll_s = poll_s
        self._run: Callable[[str, int], None] | None = None
        self._queue: Queue | None = None

    def open(self, run: Callable[[str, int], None]) -> None:
        """Connect, and begin to take work: `run(job, attempt)` is called in a thread of DBOS's, one at a time.

        An attempt is over when `run` returns. If it raises what is no `Exception`, the attempt is left as it is, for
        others to go on with.
        """
        DBOS(config=self._config())
        log = logging.getLogger("dbos")
        log.handlers.clear()
        log.propagate = True  # its lines look like ours
        log.filters = [_Calm()]

        @DBOS.workflow(name=_WORKFLOW, max_recovery_attempts=None)
        def training(job: str, attempt: int) -> None:
            run(job, attempt)

        self._run = training
        DBOS.listen_queues([self._name])
        DBOS.launch()
        self._queue = DBOS.register_queue(
            self._name, worker_concurrency=1, polling_interval_sec=self._poll_s, on_conflict="always_update"
        )

    def close(self) -> None:
        """Take no more work, and disconnect. What is running stays ours until somebody recovers it."""
        DBOS.destroy(workflow_completion_timeout_sec=0, destroy_registry=True)

    @staticmethod
    def lost(error: Exception) -> bool:
        """Whether an error says that an execution is not the one that counts: it is DBOS's to deal with."""
        return isinstance(error, dbos_error.DBOSException)

    def step(self, name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Within `run`: do work once. An execution that goes on after it gets what the first one got."""
        return DBOS.run_step({"name": name}, work)

    def holds_work(self) -> bool:
        """Whether something waits in the queue for whoever of our kind is free."""
        return bool(DBOS.list_workflows(status="ENQUEUED", queue_name=self._name, limit=1, **_BRIEF))

    def ensure(self, job: Job) -> bool:
        """See to it that the job's attempt waits in the queue; False if it is going on somewhere.

        The ledger says what is to be done: a workflow that DBOS believes to be over (after a restored backup, say)
        begins again.
        """
        assert self._run is not None
        assert self._queue is not None
        workflow = f"{job.id}-{job.attempt}"  # the same whoever asks, so that it exists once
        found = DBOS.list_workflows(workflow_ids=[workflow], **_BRIEF)
        if found and found[0].status not in _OVER:
            return found[0].status == "ENQUEUED"
        if found:
            DBOS.delete_workflow(workflow)
        with SetWorkflowID(workflow), SetEnqueueOptions(priority=1000 - job.priority):
            self._queue.enqueue(self._run, job.id, job.attempt)
        return True

    def held(self) -> list[Held]:
        """All executions that are going on as far as DBOS knows, whoever has them."""
        found = DBOS.list_workflows(status="PENDING", name=_WORKFLOW, **_BRIEF)
        return [Held(one.workflow_id, one.executor_id or "") for one in found]

    def recover(self, executors: Collection[str]) -> None:
        """Put the work of dead workers back into the queue. Harmless if others do it at the same time."""
        if executors:
            DBOS._recover_pending_workflows(list(executors))

    def retake(self, workflow: str) -> None:
        """Put back a workflow that DBOS gave us and that nobody here runs."""
        DBOS.resume_workflow(workflow, queue_name=self._name)

    def _config(self) -> DBOSConfig:
        config = DBOSConfig(
            name=_NAME,
            executor_id=self._instance,
            application_version=_VERSION,
            log_level="WARNING",
            sys_db_pool_size=_POOL,
            serializer=DBOSPortableJSONSerializer(),  # readable with psql, and no pickle
        )
        if self._database.dialect == "sqlite":
            assert self._database.path is not None
            config["system_database_url"] = f"sqlite:///{dbos_file(self._database.path)}"
        else:
            config["system_database_url"] = self._database.secret_url()
            config["db_engine_kwargs"] = {"connect_args": _CONNECT_ARGS, "hide_parameters": True}
        return config


_BRIEF: dict[str, Any] = {"load_input": False, "load_output": False}


def dbos_file(ledger: Path) -> Path:
    """DBOS's own SQLite file: a sibling of the ledger's."""
    return ledger.with_name(f"{ledger.stem}.dbos{ledger.suffix}")


class _Calm(logging.Filter):
    """DBOS logs a page with every try to reach a database that is away: of each kind, a line a minute is enough."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "no longer owned by this execution" in text:  # of a run that was taken from us: we have said so
            return False
        kind, now = (record.filename, record.lineno), time.monotonic()
        if now - self._said.get(kind, -_SAME_AGAIN_S) < _SAME_AGAIN_S:
            return False
        self._said[kind] = now
        record.msg, record.args = "DBOS: " + " ".join(text.split())[:_LONGEST_LINE], ()
        record.exc_info = record.exc_text = None
        return True
