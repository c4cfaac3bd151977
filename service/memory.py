"""Memory that was freed, given back to the operating system."""

import ctypes
from collections.abc import Callable


def give_back() -> None:
    """Return free pages to the operating system, where the C library can (glibc). Takes milliseconds.

    glibc keeps what is freed for later, in an arena of its own for every thread, and after a large block was freed it
    takes even larger ones from there: without this a service holds on to what its unloaded models took, see
    docs/decisions/0006-versions-come-and-go.md for figures.
    """
    if _malloc_trim is not None:
        _malloc_trim(0)


def _find() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # TypeError: a system that cannot open the program itself
        return None


_malloc_trim = _find()
