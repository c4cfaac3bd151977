"""Room for runs: the folders of runs that are over make way, the oldest first."""

import logging
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import JobNotFoundError
from jobs.ledger import Ledger
from training.worker import lock

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Folder:
    path: Path
    bytes: int
    changed: float


def keep_within(jobs: Path, quota_bytes: int, over: Callable[[str], bool]) -> int:
    """Remove the oldest folders of runs that are over, until all together are within the quota.

    Never touches a run that is not over, one whose process lives, or one that the ledger does not know. A run that was
    cancelled and whose folder was removed begins anew when it is resumed.

    Args:
        jobs: Folder of the folders, each named by its job.
        over: Whether a job is over, asked while its folder is held.

    Returns:
        Bytes removed.
    """
    folders = sorted(_folders(jobs), key=lambda folder: folder.changed)
    excess = sum(folder.bytes for folder in folders) - quota_bytes
    removed = 0
    for folder in folders:
        if removed >= excess:
            break
        with lock.try_hold(folder.path) as ours:
            if ours and over(folder.path.name):
                shutil.rmtree(folder.path, ignore_errors=True)
                removed += folder.bytes
                _log.info("removed %s (%d bytes) to stay within the quota", folder.path, folder.bytes)
    return removed


def over(ledger: Ledger) -> Callable[[str], bool]:
    """Whether a job is over, as the ledger has it; one that it does not know may be another database's."""

    def ask(job: str) -> bool:
        try:
            return ledger.get(job).final
        except JobNotFoundError:
            return False

    return ask


def _folders(jobs: Path) -> Iterator[_Folder]:
    if not jobs.is_dir():
        return
    for path in jobs.iterdir():
        if not path.is_dir():
            continue
        sizes, times = [0], [path.stat().st_mtime]
        for file in path.rglob("*"):
            try:
                found = file.lstat()
            except FileNotFoundError:
                continue  # a run goes on there
            if stat.S_ISREG(found.st_mode):
                sizes.append(found.st_size)
            times.append(found.st_mtime)
        yield _Folder(path, sum(sizes), max(times))
