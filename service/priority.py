"""The event loop goes first: threads that compute for milliseconds let it pass.

Admission, probes and answers that are ready need some 0.1 ms of a core each. Beside lanes that keep every core busy the
event loop would wait for its turn as long as they do: see docs/decisions/0004-what-the-engine-spends.md.

Under overload it waits for its turn, and takes in together what has come meanwhile. A turn is long, so that a lane is
not switched away more often than need be: see docs/decisions/0015-long-turns.md.
"""

import contextlib
import os
import sys
import threading

from service.slices import set_slice

NICENESS = 5  # beside a thread of another process with 0, on a core that both want: a quarter of it
_TURN_S = 0.008  # also what a refusal may have to wait for


def _is_usual() -> bool:
    try:
        return sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER
    except OSError:  # forbidden here, or unknown to the C library
        return False


_USUAL = _is_usual()  # else the operator has given the process another way, which is not ours to change


def give_way() -> None:
    """Lower the priority of the calling thread, where the system has priorities of threads (Linux)."""
    if sys.platform == "linux":
        wait_for_turn(False)  # or it would do as the thread that started it did then
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
        set_slice(_TURN_S)


def wait_for_turn(waits: bool) -> None:
    """Whether the calling thread, when there is something to do, waits until whoever runs on its core has had a turn.

    Else it takes the core at once. One that the operator has given another way of being scheduled keeps it, and
    elsewhere than on Linux nothing happens. Threads that it starts meanwhile wait too, until they say otherwise.
    """
    if _USUAL:
        before, policy = (os.SCHED_OTHER, os.SCHED_BATCH) if waits else (os.SCHED_BATCH, os.SCHED_OTHER)
        with contextlib.suppress(OSError):
            if os.sched_getscheduler(0) == before:
                os.sched_setscheduler(0, policy, os.sched_param(0))
                set_slice(_TURN_S if waits else 0.0)
