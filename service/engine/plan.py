"""How many lanes, and how large a batch: from the device and the manifest's latency table, unless it is set."""

import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

from bundle.manifest import Latency
from service.cores import usable_cores
from service.engine.devices import Device
from service.settings import Settings

_UNMEASURED_BATCH = 16  # of a graph without a latency table
_GPU_BATCH = 64  # the table is of a CPU; a GPU gains from far larger batches
_NEARLY_BEST = 1.05
_WEIGHTS_BYTES_PER_MS = 1e7  # a lane finds its weights cold: others have used the caches since its last run
_MOST_WORKERS = 4  # each loads all models; HTTP of so many keeps up with a large machine's lanes
_LEAST_LANES = 2  # of a worker among others, so that one large request is not left with one core
_GPU_NODES = ("nvidia[0-9]*", "dxg", "kfd")  # in /dev
BETWEEN_RUNS_MS = 0.1  # of a lane under load, see docs/decisions/0004-what-the-engine-spends.md


def lane_count(settings: Settings, device: Device) -> int:
    """Batches that run at once in a process: on a CPU as many as there are cores for, on a GPU one, which fills it."""
    if settings.lanes is not None:
        return settings.lanes
    if device.kind != "cpu":
        return 1
    at_once = max(1, usable_cores() // settings.threads)
    return max(min(_LEAST_LANES, at_once), at_once // (settings.workers or 1))


def shared_cores(settings: Settings, device: Device) -> int | None:
    """Batches that all workers together should run at once; None where it is not for them to agree on."""
    if settings.lanes is not None or device.kind != "cpu" or (settings.workers or 1) == 1:
        return None
    return max(1, usable_cores() // settings.threads)


def lanes_at_once(settings: Settings, device: Device) -> float:
    """This process' share of the long batches that all workers together run at once."""
    shared = shared_cores(settings, device)
    return lane_count(settings, device) if shared is None else shared / (settings.workers or 1)


def worker_count(settings: Settings, devices: Path = Path("/dev")) -> int:
    """Processes: on a CPU one for each core, up to 4, since Python runs on one core at a time in a process.

    A GPU is for one process, whose batches fill it: where the machine has one that `device` lets it use, that is 1.

    Args:
        settings: Win, where they say a number.
        devices: Where the system shows its devices.
    """
    if settings.workers is not None:
        return settings.workers
    has_gpu = settings.device != "cpu" and any(next(devices.glob(node), None) for node in _GPU_NODES)
    if settings.device.startswith("cuda") or has_gpu or sys.platform != "linux":
        return 1  # elsewhere than on Linux, sockets that share a port do not share its connections
    return min(usable_cores(), _MOST_WORKERS)


def at_once_s(settings: Settings, device: Device) -> float:
    """Seconds of a run for which no lane is woken: only on a CPU, and beside other workers.

    A run that hangs there hangs its worker. The workers' parent replaces it; a process that is alone has none.
    """
    return settings.at_once_ms / 1000 if device.kind == "cpu" and (settings.workers or 1) > 1 else 0.0


def largest_batch(settings: Settings, model: str, device: Device, latency: Sequence[Latency], weights: int = 0) -> int:
    """Images of one run: the smallest batch within 5 % of the best time per image, what lies between runs included.

    More would not be faster, but would keep others waiting longer. Of an entry and its two neighbours the middle one
    counts: a size that is faster than both the next smaller and the next larger one was measured in a better moment.

    Args:
        settings: Win, where they say a size.
        model: Its name.
        device: Where it runs.
        latency: Of the manifest, measured in an empty loop, where weights stay in the caches.
        weights: Bytes of the graph's file, which a lane reads from memory again for each run.
    """
    own = settings.models.get(model)
    if own is not None and own.max_batch_size is not None:
        return own.max_batch_size
    if settings.max_batch_size is not None:
        return settings.max_batch_size
    if device.kind == "cuda":
        return _GPU_BATCH
    if not latency:
        return _UNMEASURED_BATCH
    between = BETWEEN_RUNS_MS + weights / _WEIGHTS_BYTES_PER_MS
    entries = sorted(latency, key=lambda entry: entry.batch)
    smooth = _smooth([entry.milliseconds / entry.batch for entry in entries])
    per_image = {entry.batch: run + between / entry.batch for entry, run in zip(entries, smooth, strict=True)}
    best = min(per_image.values())
    return min(batch for batch, milliseconds in per_image.items() if milliseconds <= _NEARLY_BEST * best)


def _smooth(values: Sequence[float]) -> list[float]:
    """Running medians of three; both ends as they are."""
    inner = [statistics.median(values[i - 1 : i + 2]) for i in range(1, len(values) - 1)]
    return [*values[:1], *inner, *values[len(inner) + 1 :]]
