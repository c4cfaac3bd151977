"""What is measured: anything that draws images for some seconds and says what that took."""

from abc import ABC, abstractmethod
from dataclasses import dataclass


class BenchmarkError(Exception):
    """Nothing that means anything can be measured; the message says why."""


@dataclass(frozen=True)
class Sample:
    """One round of one subject.

    Attributes:
        images: Images drawn.
        seconds: Wall time of the round.
        cpu_s: CPU time of the process that drew them, user and system, all threads.
        latencies: Seconds of each request.
    """

    images: int
    seconds: float
    cpu_s: float
    latencies: list[float]

    @property
    def throughput(self) -> float:
        """Images per second."""
        return self.images / self.seconds

    @property
    def cpu_per_image(self) -> float:
        """CPU seconds per image."""
        return self.cpu_s / self.images


class Subject(ABC):
    """One row of the table: a loop here, or a server in a process of its own, ours or another.

    Attributes:
        name: Of the row.
        images: Images per request.
    """

    name: str
    images: int

    @abstractmethod
    def measure(self, seconds: float) -> Sample:
        """Draw for at least so long, at least one request."""
