"""How many cores this process may use: those of its affinity, or fewer where a container's quota says so."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(cgroups: Path = CGROUPS) -> int:
    """At least 1; a quota of 1.5 cores counts as 2.

    Args:
        cgroups: Where the system mounts its control groups (v2, or v1 with the controller `cpu`).
    """
    present = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups)
    return present if quota is None else max(1, min(present, math.ceil(quota)))


def _quota(cgroups: Path) -> float | None:
    """Cores, or None if there is no limit."""
    try:
        if (unified := cgroups / "cpu.max").is_file():
            limit, period = unified.read_text().split()[:2]
            return None if limit == "max" else int(limit) / int(period)
        microseconds = int((cgroups / "cpu/cpu.cfs_quota_us").read_text())
        return None if microseconds < 0 else microseconds / int((cgroups / "cpu/cpu.cfs_period_us").read_text())
    except (OSError, ValueError, ZeroDivisionError):
        return None
