"""Time slices: how long a thread may run before whoever waits for its core has a turn (Linux 6.12 and later).

A thread with a longer slice than another waits longer for its turn, and is switched away less often. Linux takes it as
`sched_runtime` of a thread of the usual policies; earlier ones take no notice of that, and elsewhere nothing happens.
See sched(7), and "Complete EEVDF" (Zijlstra, 2024).
"""

import contextlib
import ctypes
import os
import platform
import struct
import sys
from typing import Any

_NUMBERS = {"x86_64": 314, "aarch64": 274, "riscv64": 274, "loongarch64": 274}  # of the system call sched_setattr
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")  # size, policy, flags, nice, priority, runtime, deadline, period
_KEEP_POLICY = 0x08


def _find() -> Any:
    if sys.platform != "linux" or struct.calcsize("P") != 8 or platform.machine() not in _NUMBERS:
        return None
    try:
        return ctypes.CDLL(None).syscall
    except (OSError, TypeError, AttributeError):
        return None


_syscall = _find()


def set_slice(seconds: float) -> None:
    """Of the calling thread, if it has one of the usual policies. What the system refuses stays as it was.

    Args:
        seconds: Of a core, 0.0001 to 0.1; 0 for what the system gives everybody.
    """
    if _syscall is None:
        return
    with contextlib.suppress(OSError):
        if os.sched_getscheduler(0) not in (os.SCHED_OTHER, os.SCHED_BATCH):
            return  # for others that field says something else
        nice = os.getpriority(os.PRIO_PROCESS, 0)  # of this thread: Linux has priorities of threads
        given = _ATTRIBUTES.pack(_ATTRIBUTES.size, 0, _KEEP_POLICY, nice, 0, round(1e9 * seconds), 0, 0)
        _syscall(ctypes.c_long(_NUMBERS[platform.machine()]), ctypes.c_long(0), given, ctypes.c_long(0))
