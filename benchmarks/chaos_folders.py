"""Which processes are in which run folder, as the kernel says."""

import contextlib
from collections import Counter
from pathlib import Path

import psutil

from training.worker.lock import LOCK

_CHILD = "training.worker.child"


class Folders:
    """Samples of who has which run folder.

    A run's process that finds another one in its folder waits for the folder's lock and does nothing else; so what must
    not be is two that hold a lock there (of a file that was removed and made again, say).

    Attributes:
        samples: How many were taken.
        most: At once in a folder, those that wait included, by job.
        shared: Jobs of which two processes held the folder.
    """

    def __init__(self) -> None:
        self.samples = 0
        self.most: Counter[str] = Counter()
        self.shared: set[str] = set()

    def sample(self) -> None:
        """Look at all processes that descend from us."""
        there: Counter[str] = Counter()
        holding: Counter[str] = Counter()
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error, OSError):
                if _CHILD in process.cmdline():
                    for job, held in folders(Path(f"/proc/{process.pid}")).items():
                        there[job] += 1
                        holding[job] += held
        self.samples += 1
        self.most |= there
        self.shared |= {job for job, count in holding.items() if count > 1}


def folders(process: Path) -> dict[str, bool]:
    """Run folders in which a process has files open (its log, at least), by job, and whether it holds their lock.

    Args:
        process: Its folder in `/proc`.
    """
    found: dict[str, bool] = {}
    for descriptor in (process / "fd").iterdir():
        with contextlib.suppress(OSError):
            path = Path(str(descriptor.readlink()).removesuffix(" (deleted)"))
            if path.parent.parent.name == "jobs":
                held = path.name == LOCK and "lock:" in (process / "fdinfo" / descriptor.name).read_text()
                found[path.parent.name] = found.get(path.parent.name, False) or held
    return found
