"""The jobs that wait or run, and who could run them."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from jobs.ledger import Ledger
from jobs.model import Job, State
from training.watching.view import clock

_LIVE: tuple[State, ...] = ("queued", "running", "cancelling")
_OVER: tuple[State, ...] = ("succeeded", "failed", "cancelled")
_LATEST = 5


def live_jobs(ledger: Ledger) -> Group:
    """A table of live jobs, or of the latest ones that are over, and the workers that are alive.

    Raises:
        DatabaseError: If the database cannot be reached.
    """
    found = ledger.list(_LIVE)
    title = "live jobs" if found else "no job waits or runs; the latest were"
    table = Table("job", "model", "family", "state", "progress", "images/s", "left", "worker", title=title)
    for job in found or ledger.list(_OVER, limit=_LATEST):
        table.add_row(*_row(job))
    workers = [f"{w.instance} ({w.device} of {w.host}{', busy' if w.job else ''})" for w in ledger.workers() if w.alive]
    who = (
        f"workers: {', '.join(workers)}"
        if workers
        else "no worker is alive: start one with `python -m training worker`"
    )
    return Group(table, Text(who)) if table.row_count else Group(Text("no jobs yet"), Text(who))


def _row(job: Job) -> tuple[str, ...]:
    p = job.progress
    share = f"{p.step / max(1, p.steps):.0%} of {p.steps:,}" if p else ""
    left = clock(p.eta_s) if p and p.eta_s is not None and job.state == "running" else ""
    speed = f"{p.images_per_second:,.0f}" if p else ""
    state = f"{job.state}: {job.failure.code}" if job.failure else job.state
    return job.id, job.name, job.family, state, share, speed, left, job.worker or ""
