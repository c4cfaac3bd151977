"""What this process takes of its machine."""

import os
import time
from pathlib import Path

_STATM = Path("/proc/self/statm")


class Usage:
    """Processor and memory of this process."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.monotonic()

    def text(self) -> str:
        """Share of one processor since the last call, and resident memory where the system tells."""
        cpu, wall = time.process_time(), time.monotonic()
        share = (cpu - self._cpu) / (wall - self._wall) if wall > self._wall else 0.0
        self._cpu, self._wall = cpu, wall
        memory = resident_bytes()
        return f"CPU {share:.0%}" + (f", RSS {memory / 1e6:,.0f} MB" if memory else "")


def resident_bytes() -> int | None:
    """Resident memory; None where there is no /proc."""
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")
