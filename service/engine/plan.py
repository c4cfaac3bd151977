"""How many lanes, and how large a batch: from the device and the manifest's latency table, unless it is set."""

import os
from collections.abc import Sequence

from bundle.manifest import Latency
from service.engine.devices import Device
from service.settings import Settings

_UNMEASURED_BATCH = 16  # of a graph without a latency table
_GPU_BATCH = 64  # the table is of a CPU; a GPU gains from far larger batches
_NEARLY_BEST = 1.05


def lane_count(settings: Settings, device: Device) -> int:
    """Batches that run at once: on a CPU as many as there are cores for, on a GPU one, which fills it."""
    if settings.lanes is not None:
        return settings.lanes
    cores = len(os.sched_getaffinity(0))
    return max(1, cores // settings.threads) if device.kind == "cpu" else 1


def largest_batch(settings: Settings, device: Device, latency: Sequence[Latency]) -> int:
    """Images of one run: the smallest batch within 5 % of the best time per image.

    More would not be faster, but would keep others waiting longer.
    """
    if settings.max_batch_size is not None:
        return settings.max_batch_size
    if device.kind == "cuda":
        return _GPU_BATCH
    if not latency:
        return _UNMEASURED_BATCH
    best = min(entry.milliseconds / entry.batch for entry in latency)
    return min(entry.batch for entry in latency if entry.milliseconds / entry.batch <= _NEARLY_BEST * best)
