"""Who is let in: decided on arrival, from what waits and what it should cost."""

from dataclasses import dataclass

from service.engine.cost import CostModel
from service.engine.fair_queue import FairQueue
from service.engine.invariance import NO_PADDING, Padding
from service.engine.lanes import Lanes, Work
from service.engine.places import Places
from service.errors import DeadlineError, OverloadedError, ServiceError

_RETRY_S = 1.0  # as long as nothing has been measured
_GAIN = 1 / 128  # about the last 130 requests count: under overload those of several batches, which are late together


@dataclass(frozen=True)
class Limits:
    """How a graph is batched.

    Attributes:
        max_batch_size: Images of one run, of which padding makes no more.
        queue_images: Images that may wait.
        max_wait_s: How long an idle lane waits for a fuller batch, from the first request on.
        padding: What makes a row's bytes independent of its batch; see `find_padding`.
        hang_s: Seconds after which a run is given up, unless it was expected to take a good part of that.
        at_once_s: A batch that should not take longer is run on the event loop if no lane has anything to do.
    """

    max_batch_size: int
    queue_images: int
    max_wait_s: float = 0.0
    padding: Padding = NO_PADDING
    hang_s: float = 30.0
    at_once_s: float = 0.0


class Admission:
    """Decides for one graph. The lanes' lock guards it.

    Args:
        name: Of the graph, for messages.
        work: What the lanes know the graph's queue as.
        queue: Who waits.
        cost: What a run takes.
        lanes: Run it.

    Attributes:
        places: Promised to whoever is on the way to the queue.
    """

    def __init__(self, name: str, work: Work, queue: FairQueue, cost: CostModel, lanes: Lanes) -> None:
        self._name = name
        self._work = work
        self._queue = queue
        self._cost = cost
        self._lanes = lanes
        self._margin = Margin()
        self.places = Places()

    def judge(self, rows: int, left: float | None, limits: Limits) -> tuple[float, ServiceError | None]:
        """Whether a request is let in. The error is not raised here: that alone would cost as much as to find out.

        Args:
            rows: Of the request.
            left: Seconds until its deadline; None if it has none.
            limits: How it is batched.

        Returns:
            Seconds until it should be answered, where there is a deadline; and why it is refused, or None:
            OverloadedError, with the seconds until others should not be in the way, or DeadlineError, if even an idle
            service would be too late.
        """
        error = self._no_room(rows, limits)
        if left is None or error is not None:
            return 0.0, error
        return self._too_late(rows, left, limits)

    def _no_room(self, rows: int, limits: Limits) -> OverloadedError | None:
        """For what the queue has no room for. A request larger than the queue is taken when nothing waits."""
        waiting, limit = self._queue.images + self.places.rows, limits.queue_images
        if not waiting or waiting + rows <= limit:
            return None
        excess = min(waiting, waiting + rows - limit)
        seconds = self._cost.runs(excess, limits.max_batch_size) / self._lanes.allowed
        return OverloadedError(
            f"{waiting} images wait for {self._name}, of at most {limit}; this request has {rows} more",
            retry_after_s=seconds or _RETRY_S,
        )

    def _too_late(self, rows: int, left: float, limits: Limits) -> tuple[float, ServiceError | None]:
        """Seconds until it should be answered; and an error for what would be answered too late."""
        largest, cost = limits.max_batch_size, self._cost
        images = self._queue.images + self.places.rows
        turns, before_last, last, before_last_s = 1, 0, rows, 0.0
        if rows > largest:
            turns = -(-rows // largest)
            before_last = (turns - 1) * largest
            last = rows - before_last
            before_last_s = cost.runs(before_last, largest) / max(1, self._lanes.alive)
        # What would start at once is tried whatever was measured: one slow run must not refuse everybody for ever.
        tried = turns == 1 and not images
        alone = before_last_s + cost.seconds(last)
        if left <= 0 or (alone > left and not tried):
            return alone, DeadlineError(
                f"{self._name} would answer in about {alone * 1000:.0f} ms if it were idle; "
                f"the deadline is in {left * 1000:.0f} ms: allow more time, or ask for fewer images"
            )
        # At each turn of this request the others have one too, of at most one batch; who leaves is followed by another.
        ahead = turns * min(images, (self._queue.jobs + self.places.requests) * largest)
        wait = self._lanes.wait_s(self._work, cost.runs(ahead + before_last, largest))
        expected = wait + cost.seconds(largest if ahead else last)  # with whoever comes meanwhile
        # Where nobody waits there is nothing to misjudge but the runs; and a margin that refused everybody would never
        # learn again.
        margin = self._margin.seconds if images else 0.0
        if expected + margin <= left or tried:
            return expected, None
        return expected, OverloadedError(
            f"{self._name} would answer in about {expected * 1000:.0f} ms, {ahead} images are ahead; "
            f"the deadline is in {left * 1000:.0f} ms: send it later, or allow more time",
            retry_after_s=expected + margin - left,
        )

    def learn(self, error_s: float) -> None:
        """A request was answered (or given up) so much later than expected."""
        self._margin.learn(error_s)


class Margin:
    """How wrong the expected seconds are: mean and three mean deviations of what was learnt, forgetting.

    The estimate that TCP makes of its round trips (Jacobson, "Congestion avoidance and control", 1988). Under overload
    the queue is as long as deadlines allow, so that every request in it is one that may just be late.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self._mean = 0.0
        self._deviation = 0.0

    def learn(self, error_s: float) -> None:
        """An expectation was so many seconds too short."""
        error = error_s - self._mean
        self._mean += _GAIN * error
        self._deviation += _GAIN * (abs(error) - self._deviation)
        self.seconds = max(0.0, self._mean + 3 * self._deviation)
