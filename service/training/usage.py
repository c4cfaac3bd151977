"""Which uploaded sets jobs need."""

from collections.abc import Iterator

from jobs.ledger import Ledger
from jobs.model import FINAL, Job
from service.training.bodies import MOST_JOBS, STATES

_LIVE = [state for state in STATES if state not in FINAL]


def named_by(ledger: Ledger) -> set[str]:
    """Ids of the uploads that jobs name which are not over; for code that is on a thread.

    Raises:
        jobs.errors.DatabaseError: If the database does not answer.
    """
    named = (job.recipe.get("data", {}).get("upload") for job in _live(ledger))
    return {upload for upload in named if upload is not None}


def _live(ledger: Ledger) -> Iterator[Job]:
    before: str | None = None
    while page := ledger.list(_LIVE, limit=MOST_JOBS, before=before):
        yield from page
        before = page[-1].id
