"""Errors as a job's failure."""

import errno
import signal

import pytest

from bundle.errors import PublishError
from bundle.recipes import RecipeError
from jobs.model import Code
from training.errors import DataError, DivergedError, ExportError
from training.worker.failures import died, explained


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DivergedError("loss is nan"), "diverged"),
        (DataError("no such file"), "data_missing"),
        (RecipeError("no such key"), "recipe"),
        (ExportError("row 2 differs"), "export"),
        (PublishError("no version is free"), "export"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
        (OSError(errno.EFBIG, "File too large"), "disk_full"),
        (RuntimeError("[enforce fail at inline_container.cc] PytorchStreamWriter failed writing file"), "disk_full"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."), "out_of_memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (OSError(errno.ENOENT, "No such file or directory"), "internal"),
        (ZeroDivisionError("division by zero"), "internal"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_every_error_has_its_code_and_says_what_it_was(error: Exception, code: Code) -> None:
    failure = explained(error)
    assert failure.code == code
    assert str(error).partition("\n")[0] in failure.message


def test_cause_of_an_error_counts() -> None:
    error = ExportError("the graph cannot be written")
    error.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert explained(error).code == "disk_full"


def test_messages_are_bounded_and_storable() -> None:
    message = explained(DataError("x\x00" * 10_000)).message
    assert len(message) == 2000
    assert "\x00" not in message


def test_death_without_a_word_is_told_by_how_and_how_often() -> None:
    failure = died(-signal.SIGSEGV, 3, False, "Fatal Python error")
    assert failure.code == "crashed"
    assert "SIGSEGV, 3 times" in failure.message
    assert "Fatal Python error" in failure.message
    assert "exit code 7" in died(7, 1, False, "").message
    assert died(-signal.SIGKILL, 1, True, "").code == "out_of_memory"
