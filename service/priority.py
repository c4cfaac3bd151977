"""The event loop goes first: threads that compute for milliseconds let it pass.

Admission, probes and answers that are ready need some 0.1 ms of a core each. Beside lanes that keep every core busy the
event loop would wait for its turn as long as they do: see docs/decisions/0004-what-the-engine-spends.md. Under overload
it rests instead (`service.rests`).
"""

import contextlib
import os
import sys
import threading

NICENESS = 5  # beside a thread of another process with 0, on a core that both want: a quarter of it


def give_way() -> None:
    """Lower the priority of the calling thread, where the system has priorities of threads (Linux)."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            thread = threading.get_native_id()
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
