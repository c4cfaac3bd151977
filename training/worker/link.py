"""A worker's line to the ledger for one job: what the run tells goes out in order, what is wanted of it comes in.

The database may be away for minutes; nothing here holds up the run meanwhile. What is to be written waits, bounded.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jobs.errors import DatabaseError, FencedError, JobNotFoundError
from jobs.ledger import Ledger
from jobs.model import Failure, Progress, Result

_log = logging.getLogger(__name__)

_ASK_S = 0.5  # between two questions whether the run is still wanted: a cancelled run stops within a step or so
_RETRY_S = 1.0
_LONGEST = 1000  # writes that wait; of more, the oldest are dropped

Wanted = Literal["run", "cancel", "nothing"]


@dataclass(frozen=True)
class _Write:
    """What waits. An `event` that cannot be written is left out; what is `asked` is waited for, so asked again."""

    kind: Literal["progress", "event", "asked"]
    do: Callable[[], None]
    instead: Callable[[Exception], None] | None = None  # of an end that cannot be written: another one, or none


class Link:
    """Writes and asks in a thread of its own, with the fence of one execution."""

    def __init__(self, ledger: Ledger, job: str, fence: int) -> None:
        self.wanted: Wanted = "run"
        self._ledger = ledger
        self._job = job
        self._fence = fence
        self._waiting: deque[_Write] = deque(maxlen=_LONGEST)
        self._changed = threading.Condition()
        self._closed = False
        self._heard = time.monotonic()
        self._checked = self._heard
        self._away = False
        self._thread = threading.Thread(target=self._work, name="link", daemon=True)
        self._thread.start()

    @property
    def silent_s(self) -> float:
        """Seconds since the database answered last."""
        return time.monotonic() - self._heard

    def progress(self, progress: Progress) -> None:
        """Tell how far the run is; what nobody has read yet gives way to newer."""
        self._put(_Write("progress", lambda: self._ledger.progress(self._job, self._fence, progress, store_event=True)))

    def epoch(self, data: dict[str, object]) -> None:
        """Tell of an epoch."""
        self._put(_Write("event", lambda: self._ledger.epoch(self._job, self._fence, data)))

    def log(self, message: str) -> None:
        """Tell people something."""
        self._put(_Write("event", lambda: self._ledger.log(self._job, self._fence, {"message": message})))

    def picture(self, read: Callable[[], bytes], data: dict[str, object]) -> None:
        """Tell of a picture, which is read when it is written: what waits must not fill the memory."""

        def write() -> None:
            try:
                png = read()
            except OSError as error:
                _log.warning("a picture of job %s cannot be read: %s", self._job, error)
                return
            self._ledger.picture(self._job, self._fence, png, data)

        self._put(_Write("event", write))

    def inquire(self) -> Callable[[], Wanted | None]:
        """Ask the database what is wanted of the run; the question's answer is None until it is there."""
        asked = time.monotonic()
        with self._changed:
            self._checked = 0.0
            self._changed.notify_all()
        return lambda: self.wanted if self._checked > asked or self.wanted == "nothing" else None

    def permission(self) -> Callable[[], Wanted | None]:
        """Ask for permission to publish; the answer is None until it is there, and "run" if it is granted."""
        answers: list[Wanted] = []

        def write() -> None:
            answers.append(self._ledger.permit(self._job, self._fence))

        self._put(_Write("asked", write))
        return lambda: "nothing" if self.wanted == "nothing" else answers[0] if answers else None

    def finish(
        self,
        state: Literal["succeeded", "failed", "cancelled"],
        give_up: Callable[[], bool],
        result: Result | None = None,
        failure: Failure | None = None,
    ) -> bool:
        """Write all that waits and the end of the job.

        Returns:
            Whether it is written; if not, the job is not ours any more, or `give_up` said so. An end that the ledger
            cannot take is written as the failure `internal`.
        """
        done = threading.Event()

        def write() -> None:
            self._ledger.finish(self._job, self._fence, state, result=result, failure=failure)
            done.set()

        def failed(error: Exception) -> None:
            message = f"the end of the job ({state}) could not be written: {type(error).__name__}"
            fault = Failure(code="internal", message=message)

            def write_failure() -> None:
                self._ledger.finish(self._job, self._fence, "failed", failure=fault)
                done.set()

            self._put(_Write("event", write_failure, self._let_go))

        self._put(_Write("event", write, failed))
        return self._wait(done, give_up)

    def release(self, give_up: Callable[[], bool]) -> bool:
        """Write all that waits, and give the job back to the queue."""
        done = threading.Event()

        def write() -> None:
            self._ledger.release(self._job, self._fence)
            done.set()

        self._put(_Write("event", write, self._let_go))
        return self._wait(done, give_up)

    def close(self) -> None:
        """Write and ask no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _put(self, write: _Write) -> None:
        with self._changed:
            if write.kind == "progress" and self._waiting and self._waiting[-1].kind == "progress":
                self._waiting.pop()
            self._waiting.append(write)
            self._changed.notify_all()

    def _wait(self, done: threading.Event, give_up: Callable[[], bool]) -> bool:
        while not done.wait(0.1):
            if self.wanted == "nothing" or give_up():
                return False
        return True

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._changed.wait(max(0.0, self._checked + _ASK_S - time.monotonic()))
                if self._closed or self.wanted == "nothing":
                    return
                write = self._waiting.popleft() if self._waiting else None
            try:
                if write is not None:
                    write.do()
                    write = None  # done, whatever becomes of the question
                    self._reached()
                if time.monotonic() - self._checked >= _ASK_S:
                    self._set(self._ledger.wanted(self._job, self._fence))
            except (FencedError, JobNotFoundError) as error:
                _log.info("%s", error)
                self._set("nothing")
            except DatabaseError as error:
                self._lost(write, error)
            except Exception as error:  # without this thread the job would hang for ever
                _log.exception("job %s: %s", self._job, "no answer" if write is None else "an event cannot be written")
                self._drop(write, error)

    def _drop(self, write: _Write | None, error: Exception) -> None:
        if write is not None and write.instead is not None:
            write.instead(error)
        elif write is None or write.kind == "asked":
            with self._changed:
                if write is not None:
                    self._waiting.appendleft(write)
                self._changed.wait(_RETRY_S) if not self._closed else None

    def _let_go(self, _: Exception) -> None:
        """Not even this can be written: the worker finds the job as one that it holds and does not run."""
        self._set("nothing")

    def _set(self, wanted: Wanted) -> None:
        self._reached()
        with self._changed:
            self.wanted = wanted
            self._checked = time.monotonic()
            self._changed.notify_all()

    def _reached(self) -> None:
        self._heard = time.monotonic()
        if self._away:
            self._away = False
            _log.info("the database is back; %d events are written now", len(self._waiting))

    def _lost(self, write: _Write | None, error: DatabaseError) -> None:
        if not self._away:
            self._away = True
            _log.warning("the run of job %s goes on without the database: %s", self._job, error)
        with self._changed:
            if write is not None and len(self._waiting) < _LONGEST:
                self._waiting.appendleft(write)
            self._changed.wait(_RETRY_S) if not self._closed else None
