"""What a parent and its workers tell each other, as lines of JSON."""

from typing import Literal

from pydantic import BaseModel

from service.settings import Settings
from service.team.gathering import Seat


class Orders(BaseModel):
    """What a worker is told.

    Attributes:
        settings: With the port that all of them share.
        load_first: Others serve: listen only when the models are loaded.
        seat: Its place among the others.
        stopping_s: Seconds that it may take to stop before it is taken to hang.
    """

    settings: Settings
    load_first: bool
    seat: Seat
    stopping_s: float


class Report(BaseModel):
    """What a worker says of itself.

    Attributes:
        models: Names of those that serve.
        reason: Why it cannot start.
    """

    state: Literal["ready", "failed"]
    models: list[str] = []
    reason: str = ""
