"""Threads for blocking calls: bounded, honest about errors, and no reason for a process not to end."""

import asyncio
import subprocess
import sys
import threading

import pytest

from service.training.threads import Threads

HANGING = """
import asyncio, threading
from service.training.threads import Threads

async def main():
    threads = Threads(2, "hanging")
    try:
        await asyncio.wait_for(threads.run(threading.Event().wait), 0.1)
    except TimeoutError:
        threads.close()

asyncio.run(main())
"""


def test_work_is_done_on_so_many_threads_at_most() -> None:
    async def go() -> int:
        threads, gate = Threads(3, "bounded"), threading.Barrier(3)
        found = await asyncio.gather(*(threads.run(lambda: (gate.wait(), threading.get_ident())[1]) for _ in range(12)))
        threads.close()
        return len(set(found))

    assert asyncio.run(go()) == 3


def test_error_of_the_work_is_the_callers() -> None:
    threads = Threads(1, "failing")
    with pytest.raises(ZeroDivisionError):
        asyncio.run(threads.run(lambda: 1 // 0))
    assert asyncio.run(threads.run(lambda: 7)) == 7
    threads.close()


def test_work_that_nobody_waits_for_any_more_is_left_out() -> None:
    async def go() -> list[int]:
        threads, gate, done = Threads(1, "leaving"), threading.Event(), list[int]()
        first = asyncio.create_task(threads.run(gate.wait))
        second = asyncio.create_task(threads.run(lambda: done.append(2)))
        third = asyncio.create_task(threads.run(lambda: done.append(3)))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.sleep(0)
        gate.set()
        await first
        await third
        threads.close()
        return done

    assert asyncio.run(go()) == [3]


def test_process_ends_while_a_call_hangs() -> None:
    ended = subprocess.run([sys.executable, "-c", HANGING], timeout=60, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
