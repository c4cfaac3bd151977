"""The event loop goes first: threads that compute for milliseconds let it pass.

Admission, probes and answers that are ready need some 0.1 ms of a core each. Beside lanes that keep every core busy the
event loop would wait for its turn as long as they do: see docs/decisions/0004-what-the-engine-spends.md.
"""

import contextlib
import os
import sys
import threading

NICENESS = 5  # beside a thread of another process with 0, on a core that both want: a quarter of it


def give_way() -> None:
    """Lower the priority of the calling thread, where the system has priorities of threads (Linux)."""
    if sys.platform == "linux":
        wait_for_turn(False)  # or it would do as the thread that started it did then
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)


def wait_for_turn(waits: bool) -> None:
    """Whether the calling thread, when there is something to do, waits until whoever runs on its core has had a turn.

    Else it takes the core at once. One that the operator has given another way of being scheduled keeps it, and
    elsewhere than on Linux nothing happens. Threads that it starts meanwhile wait too, until they say otherwise.
    """
    if sys.platform == "linux":
        before, policy = (os.SCHED_OTHER, os.SCHED_BATCH) if waits else (os.SCHED_BATCH, os.SCHED_OTHER)
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(0) == before:
                os.sched_setscheduler(0, policy, os.sched_param(0))
