"""`device = auto | cpu | cuda[:i]`: what is asked for is what is used, or the service does not start."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service.errors import StartupError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Device:
    """Where graphs run."""

    kind: Literal["cpu", "cuda"]
    index: int = 0

    def __str__(self) -> str:
        return self.kind if self.kind == "cpu" else f"{self.kind}:{self.index}"


def resolve_device(wanted: str, why_not_cuda: Callable[[int], str | None]) -> Device:
    """The device that a setting stands for.

    Args:
        wanted: `auto` (CUDA if it can be used, else the CPU), `cpu`, `cuda` or `cuda:i`.
        why_not_cuda: Why CUDA device i cannot be used, naming what there is instead; None if it can.

    Raises:
        StartupError: If CUDA is asked for and cannot be used.
    """
    if wanted == "cpu":
        return Device("cpu")
    index = int(wanted.partition(":")[2] or 0)
    reason = why_not_cuda(index)
    if reason is None:
        return Device("cuda", index)
    if wanted == "auto":
        _log.info("device auto is the CPU: %s", reason)
        return Device("cpu")
    raise StartupError(f"device is {wanted!r}, but {reason}; set device to 'auto' or 'cpu', or mend that")
