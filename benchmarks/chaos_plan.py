"""What is ordered and what is killed, and when: all of it drawn from one seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle

# What is done to whom; each in turn, in an order that is drawn anew every time round.
WORKER_KILLED, WORKER_STOPPED, WORKER_ASKED = "worker: kill -9", "worker: SIGSTOP", "worker: SIGTERM"
RUN_KILLED, RUN_STOPPED, RUN_ASKED = "run: kill -9", "run: SIGSTOP", "run: SIGTERM"
DATABASE_CRASHED = "PostgreSQL: immediate shutdown"
SERVICE_KILLED, SERVICE_ASKED = "service: kill -9", "service: SIGTERM"
PROCESS_KILLED, PROCESS_STOPPED = "process of the service: kill -9", "process of the service: SIGSTOP"
KINDS = (
    WORKER_KILLED,
    WORKER_STOPPED,
    WORKER_ASKED,
    RUN_KILLED,
    RUN_STOPPED,
    RUN_ASKED,
    DATABASE_CRASHED,
    SERVICE_KILLED,
    SERVICE_ASKED,
    PROCESS_KILLED,
    PROCESS_STOPPED,
)

_CALM_S = 5.0  # before the first blow
_GAP_S = (2.0, 8.0)  # between two
_LASTS_S = (1.0, 12.0)  # on both sides of the workers' lapse
_ROUNDS = (3_000, 10_000, 20_000)  # seconds to most of a minute, to which start and export add a quarter
_ENDLESS = 1_000_000
_CANCEL_S = (4.0, 20.0)
_RESUME_S = (1.0, 10.0)
_ORDERED_IN = 0.9  # share of the time


@dataclass(frozen=True)
class Blow:
    """Something that is done to a process.

    Attributes:
        at: Seconds after the start.
        kind: One of `KINDS`.
        victim: Which, where there are several: modulo their number.
        lasts: Seconds until it may go on, or is started again.
    """

    at: float
    kind: str
    victim: int
    lasts: float


@dataclass(frozen=True)
class Order:
    """A job that is ordered.

    Attributes:
        name: Of the model; no two orders have the same.
        at: Seconds after the start.
        rounds: Of training. Orders with equal rounds are equal but for the name, so their weights have to be.
        cancel_s: Seconds from the order to its cancellation, if there is to be one.
        resume_s: Seconds from its being cancelled to its being resumed, if it is to be.
    """

    name: str
    at: float
    rounds: int
    cancel_s: float | None = None
    resume_s: float | None = None

    @property
    def wanted(self) -> str:
        """The state that it is to end in."""
        return "cancelled" if self.cancel_s is not None and self.resume_s is None else "succeeded"


def blows(seed: int, seconds: float) -> Iterator[Blow]:
    """All blows of a run of so many seconds, the earliest first."""
    chance = random.Random(f"blows {seed}")
    at = _CALM_S
    while True:
        for kind in chance.sample(KINDS, len(KINDS)):
            at += chance.uniform(*_GAP_S)
            if at >= seconds:
                return
            yield Blow(at, kind, chance.randrange(2), chance.uniform(*_LASTS_S))


def orders(seed: int, seconds: float, jobs: int) -> list[Order]:
    """So many orders, spread over most of the time.

    Two of them are cancelled, one of these for good: it would go on for ever otherwise. The other one is long, so that
    it is not over before.
    """
    chance = random.Random(f"orders {seed}")
    times = sorted(chance.uniform(0, _ORDERED_IN * seconds) for _ in range(jobs))
    lengths = [rounds for rounds, _ in zip(cycle(_ROUNDS), range(jobs), strict=False)]
    chance.shuffle(lengths)
    made = [Order(f"chaos-{i}", at, rounds) for i, (at, rounds) in enumerate(zip(times, lengths, strict=True))]
    for_good, resumed = chance.sample(range(jobs), 2)
    made[for_good] = Order(made[for_good].name, times[for_good], _ENDLESS, chance.uniform(*_CANCEL_S))
    made[resumed] = Order(
        made[resumed].name, times[resumed], max(_ROUNDS), chance.uniform(*_CANCEL_S), chance.uniform(*_RESUME_S)
    )
    return made
