"""How runs can share the device: lanes x threads, and the batch sizes to try with each."""

from dataclasses import dataclass

from bundle.manifest import Latency
from service.engine.devices import Device
from service.engine.plan import lane_count, largest_batch, worker_count
from service.settings import Settings

LARGEST = {"cpu": 64, "cuda": 256}
_GPU_LANES = (1, 2, 4)
_MOST_LANES, _MOST_THREADS, MOST_IMAGES = 64, 256, 4096  # what the settings take


@dataclass(frozen=True, order=True)
class Shape:
    """Lanes of each of so many processes, and CPU threads of one run."""

    lanes: int
    threads: int
    workers: int = 1

    @property
    def at_once(self) -> int:
        """Runs that are under way on the device at full load."""
        return self.lanes * self.workers

    def __str__(self) -> str:
        return f"{self.lanes} x {self.threads}"


@dataclass(frozen=True)
class Setup:
    """A shape, and images per run."""

    shape: Shape
    batch: int


def present_setup(settings: Settings, model: str, device: Device, latency: list[Latency], weights: int = 0) -> Setup:
    """What the service does as it is set now."""
    shape = Shape(lane_count(settings, device), settings.threads, worker_count(settings))
    return Setup(shape, largest_batch(settings, model, device, latency, weights))


def shapes(settings: Settings, device: Device, cores: int) -> list[Shape]:
    """On a CPU as many lanes as there are cores for, each with 1, 2, 4, ... or all threads; on a GPU 1, 2 and 4 lanes.

    torch has one number of threads for the whole process, so with `runtime = "torchscript"` it is the one that is set.

    Args:
        settings: `workers`, `threads` and `runtime` count.
        device: Where the model runs.
        cores: Of this machine.
    """
    workers = worker_count(settings)
    if device.kind == "cuda":
        return [Shape(lanes, settings.threads, workers) for lanes in _GPU_LANES]
    if settings.runtime == "torchscript":
        threads = [settings.threads]
    else:
        each = max(1, cores // workers)
        threads = sorted({min(1 << power, each, _MOST_THREADS) for power in range(each.bit_length() + 1)})
    return [Shape(min(max(1, cores // (count * workers)), _MOST_LANES), count, workers) for count in threads]


def batches(largest: int, present: int) -> list[int]:
    """Powers of two up to the largest batch, that itself, and the present one if it is no larger."""
    powers = {1 << power for power in range(largest.bit_length()) if 1 << power <= largest}
    return sorted(powers | {largest} | ({present} if present <= largest else set()))
