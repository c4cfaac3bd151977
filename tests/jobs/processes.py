"""What the tests of the ledger run in processes of their own, all at once."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier, Event
from typing import Any, TypeVar

from sqlalchemy import Connection

from jobs import journal
from jobs.database import open_database
from jobs.errors import JobHeldError
from jobs.ledger import Ledger
from tests.jobs.samples import order, worker

T = TypeVar("T")

FORKSERVER = multiprocessing.get_context("forkserver")
# The server is one for the whole session, so what the other users of it want loaded stays in.
FORKSERVER.set_forkserver_preload(["__main__", "tests.bundle.processes", __name__])
_barrier: Barrier | None = None


def at_once(work: Callable[..., T], arguments: Sequence[tuple[Any, ...]]) -> list[T]:
    """Run `work` with each of the arguments, each in a process of its own, begun when all are there."""
    count = len(arguments)
    begin = (FORKSERVER.Barrier(count, timeout=120),)
    with ProcessPoolExecutor(count, mp_context=FORKSERVER, initializer=_set_barrier, initargs=begin) as pool:
        return [future.result() for future in [pool.submit(_wait_and, work, given) for given in arguments]]


def _set_barrier(barrier: Barrier) -> None:
    global _barrier
    _barrier = barrier


def _wait_and(work: Callable[..., T], given: tuple[Any, ...]) -> T:
    together()
    return work(*given)


def together() -> None:
    """Wait for the other processes."""
    assert _barrier is not None
    _barrier.wait()


def open_and_order(url: str) -> str:
    """Submit to a database that may have no tables yet."""
    return Ledger(open_database(url)).submit(order())[0].id


def order_with(url: str, keys: list[str]) -> list[tuple[str, bool]]:
    """Submit with the given keys, each at the same time as the others do."""
    ledger = Ledger(open_database(url))
    answers = []
    for key in keys:
        together()
        job, created = ledger.submit(order(key))
        answers.append((job.id, created))
    return answers


def start_all(url: str, jobs: list[str], instance: str) -> list[int | None]:
    """Start every job at the same time as the others do; the fences of those that were got."""
    ledger = Ledger(open_database(url))
    ledger.register(worker(instance))
    fences: list[int | None] = []
    for job in jobs:
        together()
        try:
            got = ledger.start(job, 1, instance)
        except JobHeldError:
            fences.append(None)
        else:
            assert got is not None
            fences.append(got.fence)
    return fences


def end_all(url: str, jobs: list[str], how: str) -> list[str]:
    """Cancel or resume every job at the same time as the others do; what became of it, or the name of the error."""
    ledger = Ledger(open_database(url))
    answers = []
    for job in jobs:
        together()
        try:
            answers.append(getattr(ledger, how)(job).state)
        except Exception as error:
            answers.append(type(error).__name__)
    return answers


def write_lines(url: str, job: str, fence: int, count: int) -> list[int]:
    """Write lines into a job's log."""
    ledger = Ledger(open_database(url))
    for i in range(count):
        ledger.log(job, fence, {"process": os.getpid(), "i": i})
    return []


def follow_lines(url: str, job: str, total: int) -> list[int]:
    """Read a job's events while they are written, as a client does; the numbers in the order in which they came."""
    ledger = Ledger(open_database(url))
    seen: list[int] = []
    while len(seen) < total:
        seen += [event.id for event in ledger.events(job, after=seen[-1] if seen else 0, limit=7)]
    return seen


def hold_until_killed(url: str, job: str, inside: Event) -> None:
    """Write an event, and stay in the transaction."""

    def work(connection: Connection) -> None:
        journal.append(connection, job, "log", {}, "mark")
        inside.set()
        threading.Event().wait()

    open_database(url).write(work)


def write_or_follow(url: str, job: str, fence: int | None, count: int) -> list[int]:
    """A writer where there is a fence, else a reader."""
    return follow_lines(url, job, count) if fence is None else write_lines(url, job, fence, count)
