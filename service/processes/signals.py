"""SIGTERM and SIGINT: the first asks for the end, the second brings it at once."""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from types import FrameType

_ENDING = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def ending_signals(stop: Callable[[], object], at_once: Callable[[], object] | None = None) -> Iterator[None]:
    """While the block runs, call `stop` at the first of these signals, and end the process at the second.

    Args:
        stop: Called between any two instructions of the main thread.
        at_once: Called before the process ends at the second signal.
    """
    seen = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal seen
        if seen:
            if at_once is not None:
                at_once()
            os._exit(128 + number)  # as a shell reports a process that the signal ended
        seen = True
        stop()

    for number in _ENDING:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in _ENDING:
            signal.signal(number, signal.SIG_IGN)  # all is done: what is left cannot be ended any sooner
