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
        self.images = 0
        self.jobs = 0  # that have rows waiting

    def push(self, job: Job) -> None:
        """Put a job behind the others."""
        signature = job.signature()
        group = self._groups.get(signature)
        if group is None:
            group = self._groups[signature] = OrderedDict()
        group[job] = None
        job.group = group
        self.jobs += 1
        self.images += job.rows - job.taken

    def discard(self, job: Job) -> None:
        """Drop the rows of a job that still wait, if any."""
        if job.group is not None:
            self.images -= job.rows - job.taken
            self._remove(job, job.group)

    def take(self, limit: int, now: float, back_by: float | None = None) -> tuple[list[Slice], list[Job]]:
        """The next batch.

        Args:
            limit: Rows that fit in it.
            now: Jobs with a deadline up to this are dropped; monotonic seconds.
            back_by: When the batch should be back. A job that should be late then, and of which less than half has
                run, is part of it only if the others leave room, and else dropped: what nobody can use would take a
                place from those who can still be in time. None: nobody is dropped for that.

        Returns:
            Slices that can run together (none if nobody waits), and the jobs that were dropped.
        """
        slices: list[Slice] = []
        late: list[Job] = []
        while self._groups and not slices:
            signature, group = next(iter(self._groups.items()))
            self._fill(group, limit, (now, now if back_by is None else back_by), slices, late)
            if not group:
                del self._groups[signature]
            elif len(self._groups) > 1:
                self._groups.move_to_end(signature)
        return slices, late

    def _fill(
        self,
        group: OrderedDict[Job, None],
        limit: int,
        times: tuple[float, float],
        slices: list[Slice],
        late: list[Job],
    ) -> None:
        now, back_by = times
        doubtful: list[Job] = []
        space = limit
        while space and group:
            job = next(iter(group))
            if job.deadline is not None and job.deadline <= now:
                self._drop(job, late)
            elif job.deadline is not None and job.deadline <= back_by and job.taken < job.waiting:
                del group[job]
                doubtful.append(job)
            else:
                space -= self._cut(job, group, space, slices)
        for job in doubtful:
            group[job] = None
            if space:
                space -= self._cut(job, group, space, slices)
            else:
                self._drop(job, late)

    def _drop(self, job: Job, late: list[Job]) -> None:
        self.discard(job)
        late.append(job)

    def _cut(self, job: Job, group: OrderedDict[Job, None], space: int, slices: list[Slice]) -> int:
        """Put as many rows of a job in the batch as there is space for; how many that are."""
        start = job.taken
        stop = job.taken = min(job.rows, start + space)
        slices.append((job, start, stop))
        self.images -= stop - start
        if stop < job.rows:
            group.move_to_end(job)
        else:
            self._remove(job, group)
        return stop - start

    def _remove(self, job: Job, group: OrderedDict[Job, None]) -> None:
        del group[job]
        job.group = None
        self.jobs -= 1
