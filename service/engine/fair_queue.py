"""The order in which waiting requests reach the lanes: round-robin, at most one batch of each per turn.

Deficit round robin (Shreedhar and Varghese, "Efficient fair queuing using deficit round-robin", 1996) with the batch
as quantum: a request for 1,000 images fills one batch, then goes behind those who came meanwhile, so that a request
for one image waits for at most one batch of each of the others. Not safe in threads: the lanes' lock guards it.
"""

from collections import OrderedDict

from service.engine.jobs import Job, Signature, Slice


class FairQueue:
    """Jobs that wait, grouped by what can run as one batch; groups take turns too."""

    def __init__(self) -> None:
        self._groups: OrderedDict[Signature, OrderedDict[Job, None]] = OrderedDict()
        self._group_of: dict[Job, Signature] = {}
        self.images = 0

    @property
    def jobs(self) -> int:
        """Number of jobs that have rows waiting."""
        return len(self._group_of)

    def push(self, job: Job) -> None:
        """Put a job behind the others."""
        signature = job.signature()
        self._groups.setdefault(signature, OrderedDict())[job] = None
        self._group_of[job] = signature
        self.images += job.waiting

    def discard(self, job: Job) -> None:
        """Drop the rows of a job that still wait, if any."""
        signature = self._group_of.pop(job, None)
        if signature is not None:
            self.images -= job.waiting
            self._remove(signature, job)

    def take(self, limit: int, now: float) -> tuple[list[Slice], list[Job]]:
        """The next batch.

        Args:
            limit: Rows that fit in it.
            now: Jobs with a deadline up to this are dropped; monotonic seconds.

        Returns:
            Slices that can run together (none if nobody waits), and the jobs whose deadline has passed.
        """
        slices: list[Slice] = []
        late: list[Job] = []
        while self._groups and not slices:
            signature, group = next(iter(self._groups.items()))
            self._groups.move_to_end(signature)
            self._fill(group, limit, now, slices, late)
        return slices, late

    def _fill(
        self, group: OrderedDict[Job, None], limit: int, now: float, slices: list[Slice], late: list[Job]
    ) -> None:
        space = limit
        while space and group:
            job = next(iter(group))
            if job.deadline is not None and job.deadline <= now:
                self.discard(job)
                late.append(job)
                continue
            rows = min(job.waiting, space)
            slices.append(Slice(job, job.taken, job.taken + rows))
            space -= rows
            self.images -= rows
            job.taken += rows
            if job.waiting:
                group.move_to_end(job)
            else:
                self._remove(self._group_of.pop(job), job)

    def _remove(self, signature: Signature, job: Job) -> None:
        group = self._groups[signature]
        del group[job]
        if not group:
            del self._groups[signature]
