"""What is told of a run while it goes on, and who may be told."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

from bundle.store import Bundle


@dataclass(frozen=True)
class About:
    """What is known of a run before its first round.

    Attributes:
        name: Of the run, which is that of its folder.
        recipe: Resolved, as it will stand in the bundle.
        folder: Of checkpoint, pictures and logs.
        step, steps: Where the run starts or goes on, and where it ends, in rounds.
        device: Where the networks are.
    """

    name: str
    recipe: dict[str, Any]
    folder: Path
    step: int
    steps: int
    device: str


@dataclass(frozen=True)
class Snapshot:
    """A run at one moment.

    Attributes:
        step, steps: Rounds played and rounds of the whole run.
        stage: What is being trained.
        seconds: Spent in the loop, over all sessions.
        images_per_second: Training images, over the latest rounds.
        eta_s: Seconds left at this speed; None while it is unknown.
        epoch: Passes over the training images so far.
        losses: The latest value of each term, by `player.term`.
    """

    step: int
    steps: int
    stage: str
    seconds: float
    images_per_second: float
    eta_s: float | None
    epoch: float
    losses: dict[str, float]


@dataclass(frozen=True)
class Picture:
    """A grid drawn from the fixed latents: a PNG."""

    step: int
    epoch: float
    png: bytes


class Ending(StrEnum):
    """How a session of a run ended."""

    PUBLISHED = "published"
    STOPPED = "stopped"
    FAILED = "failed"


class Sink(Protocol):
    """Who is told of a run. Called from the loop's thread, so it must be quick; raising ends the run."""

    def progress(self, snapshot: Snapshot) -> None:
        """The latest losses and speed: at most twice a second, and once after the last round."""

    def picture(self, picture: Picture) -> None:
        """A new grid: every `train.picture_epochs`, and after the last round."""

    def publishing(self) -> None:
        """All rounds are played; the export and the measurements begin."""

    def published(self, bundle: Bundle) -> None:
        """The run has become a bundle."""

    def close(self, ending: Ending) -> None:
        """Nothing more will be told."""
