"""From what went wrong to the code and the sentence that a job fails with."""

import errno
import re
import signal
import traceback

from bundle.errors import BundleError
from bundle.recipes import RecipeError as RecipeProblem
from jobs.model import Code, Failure
from training.errors import DataError, DivergedError, ExportError, RecipeError

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_NO_MEMORY = re.compile(r"can't allocate memory|out of memory|DefaultCPUAllocator|std::bad_alloc", re.IGNORECASE)
_NO_SPACE = re.compile(r"no space left|disk quota|file too large|PytorchStreamWriter failed", re.IGNORECASE)
_CODES: list[tuple[type[Exception], Code]] = [
    (DivergedError, "diverged"),
    (DataError, "data_missing"),
    (RecipeError, "recipe"),
    (RecipeProblem, "recipe"),
    (ExportError, "export"),
    (BundleError, "export"),
]
_LONGEST = 2000


def explained(error: BaseException) -> Failure:
    """The failure that an error of a run is; the causes of an error count as well as itself."""
    for link in _chain(error):
        if isinstance(link, OSError) and link.errno in _FULL:
            return _failure(
                "disk_full", f"the disk is full, or a quota is reached: {link}; free some space, then resume"
            )
        if isinstance(link, MemoryError) or (isinstance(link, RuntimeError) and _NO_MEMORY.search(str(link))):
            return _failure("out_of_memory", f"{_memory(link)}; use a smaller batch, model or image size")
    if _NO_SPACE.search(str(error)):
        return _failure("disk_full", f"the disk is full, or a quota is reached: {error}; free some space, then resume")
    for kind, code in _CODES:
        if isinstance(error, kind):
            return _failure(code, str(error))
    where = traceback.extract_tb(error.__traceback__)
    place = f" ({where[-1].name}, line {where[-1].lineno})" if where else ""
    return _failure("internal", f"{type(error).__name__}: {error}{place}; the whole of it is in the run's worker.log")


def died(status: int, deaths: int, killed_for_memory: bool, last_words: str) -> Failure:
    """The failure of a run whose process ended without a word.

    Args:
        status: As `Popen.returncode`: minus the signal, or the exit code.
        deaths: How often it died in a row without getting further.
        killed_for_memory: Whether the kernel says that it killed for want of memory meanwhile.
        last_words: End of its log.
    """
    if killed_for_memory:
        return _failure("out_of_memory", "the kernel killed the run for want of memory; use a smaller batch or model")
    how = f"signal {signal.Signals(-status).name}" if status < 0 else f"exit code {status}"
    said = f"; its last words: {last_words}" if last_words else ""
    return _failure("crashed", f"the run's process died of {how}, {deaths} times without getting further{said}")


def _failure(code: Code, message: str) -> Failure:
    return Failure(code=code, message=message.replace("\x00", "")[:_LONGEST])


def _memory(error: BaseException) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"the run has not enough memory: {first}" if first else "the run has not enough memory"


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in found:
        found.append(link)
        link = link.__cause__ or link.__context__
    return found
