"""What follows a publication: the version in use may change, and every service is told."""

import logging

from bundle.errors import BundleError
from bundle.promotion import Decision, promote
from bundle.recipes import Recipe, check_table, headline
from bundle.store import Store
from jobs.database import Database
from jobs.errors import DatabaseError
from jobs.model import Job, Result
from jobs.notify import announce_published
from training.worker.protocol import Published

_log = logging.getLogger(__name__)


def deliver(store: Store, database: Database, job: Job, published: Published) -> Result:
    """Promote the bundle where that was ordered and it is no worse, and tell the services. May be repeated.

    A promotion that fails leaves a bundle that is published all the same: the reason says what was wrong.
    """
    decision = Decision(False, "promotion was ordered to be manual")
    if job.promotion == "auto":
        try:
            labels = store.open(f"{published.name}@{published.version}").manifest.labels
            metric, direction = headline(check_table(Recipe, job.recipe, "recipe"), labelled=labels is not None)
            decision = promote(store, published.name, published.version, metric, direction, by=job.id)
        except (BundleError, OSError) as error:
            _log.exception("%s@%d could not be promoted", published.name, published.version)
            decision = Decision(False, f"it could not be promoted: {error}")
    try:
        announce_published(database, published.name, published.version)
    except DatabaseError as error:
        _log.warning("nobody was told of %s@%d, services find it soon: %s", published.name, published.version, error)
    return Result(**published.model_dump(exclude={"kind"}), promoted=decision.promote, reason=decision.reason)
