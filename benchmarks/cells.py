"""What is measured, and what a measurement is."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmarks.errors import BenchmarkError

BARE_CONNECTIONS = 0


@dataclass(frozen=True)
class Cell:
    """One kind of load.

    Attributes:
        model: Name of the model.
        images: Per request.
        connections: Open at once, each sending its next request when it has the last answer; 0 for bare loops.
        png: One PNG of all images, rather than raw uint8.
    """

    model: str
    images: int
    connections: int
    png: bool = False

    @property
    def bare(self) -> "Cell":
        """The bare runtime's cell for the same work."""
        return Cell(self.model, self.images, BARE_CONNECTIONS)


@dataclass(frozen=True)
class Sample:
    """One round of one subject in one cell.

    Attributes:
        requests: Answered (for a bare loop: runs).
        seconds: Wall time.
        cpu_s: CPU seconds of the subject's processes, user and system.
        p50_ms, p99_ms: Of a request's latency.
    """

    requests: int
    seconds: float
    cpu_s: float
    p50_ms: float
    p99_ms: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU milliseconds per request."""
        return 1000 * self.cpu_s / self.requests


def together(samples: Sequence[Sample]) -> Sample:
    """Several stretches as one; percentiles are the means of theirs."""
    return Sample(
        requests=sum(sample.requests for sample in samples),
        seconds=sum(sample.seconds for sample in samples),
        cpu_s=sum(sample.cpu_s for sample in samples),
        p50_ms=fmean(sample.p50_ms for sample in samples),
        p99_ms=fmean(sample.p99_ms for sample in samples),
    )


@dataclass(frozen=True)
class Measurement:
    """A sample with its place, or why there is none. What is measured several times in a round counts as one."""

    round: int
    subject: str
    cell: Cell
    sample: Sample | None
    problem: str | None = None


def sampled(requests: int, seconds: float, cpu_s: float, p50_ms: float, p99_ms: float) -> Sample:
    """A sample that means something.

    Raises:
        BenchmarkError: If no request was answered.
    """
    if requests < 1 or seconds <= 0:
        raise BenchmarkError(f"{requests} requests were answered in {seconds:.1f} s; measure for longer (--seconds)")
    return Sample(requests, seconds, cpu_s, p50_ms, p99_ms)
