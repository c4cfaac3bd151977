"""Threads that compute have long turns, and so has the event loop while it waits for its own; as the kernel has it."""

import ctypes
import os
import platform
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service import priority, slices
from service.priority import give_way, wait_for_turn
from service.slices import set_slice

BOOKS = Path("/proc/thread-self/sched")


def slice_ns() -> int | None:
    """Of the calling thread; None where the kernel keeps no such books, or knows no slices of threads."""
    found = re.search(r"^se\.slice\s*:\s*(\d+)$", BOOKS.read_text(), re.M) if BOOKS.exists() else None
    return None if found is None else int(found[1])


HAS_SLICES = pytest.mark.skipif(slice_ns() is None, reason="the kernel shows no slices")


def in_thread(work: Callable[[], None]) -> None:
    """Run it where it leaves nothing behind; its error is the caller's."""
    failed: list[BaseException] = []

    def go() -> None:
        try:
            work()
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=go)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


@HAS_SLICES
def test_slice_is_set_and_nothing_else() -> None:
    def main() -> None:
        usual = slice_ns()
        os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0) + 3)
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        for seconds, expected in ((0.008, 8_000_000), (0.02, 20_000_000), (0.0, usual)):
            set_slice(seconds)
            assert slice_ns() == expected
            assert os.getpriority(os.PRIO_PROCESS, 0) == nice
            assert os.sched_getscheduler(0) == os.SCHED_BATCH

    in_thread(main)


@HAS_SLICES
def test_who_gives_way_has_long_turns_and_the_event_loop_only_while_it_waits_for_its_own() -> None:
    long = round(1e9 * priority._TURN_S)

    def main() -> None:
        usual = slice_ns()
        assert usual is not None
        assert usual < long
        wait_for_turn(True)
        assert slice_ns() == long
        in_thread(lambda: (give_way(), check(long))[1])
        wait_for_turn(False)
        assert slice_ns() == usual
        in_thread(lambda: check(usual))

    def check(expected: int) -> None:
        assert slice_ns() == expected

    in_thread(main)


def test_what_the_system_refuses_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slices, "_NUMBERS", {platform.machine(): 1 << 20})  # no such system call
    before = slice_ns()
    set_slice(0.008)
    assert slice_ns() == before


def never(*_: Any) -> None:
    raise AssertionError("the system was asked")


def test_another_policy_keeps_what_that_field_says_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getscheduler", lambda _: os.SCHED_FIFO)
    monkeypatch.setattr(slices, "_syscall", never)
    set_slice(0.008)


@pytest.mark.parametrize("error", [OSError, AttributeError, TypeError])
def test_where_the_system_has_no_such_call_nobody_asks(monkeypatch: pytest.MonkeyPatch, error: type[Exception]) -> None:
    def none(_: Any) -> None:
        raise error("no C library to ask")

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert slices._find() is None
    monkeypatch.undo()
    monkeypatch.setattr(platform, "machine", lambda: "z80")
    assert slices._find() is None
    monkeypatch.setattr(slices, "_syscall", None)
    monkeypatch.setattr(os, "sched_getscheduler", never)
    set_slice(0.008)


@pytest.mark.parametrize("name", ["sched_getscheduler", "getpriority", "sched_setscheduler"])
def test_thread_lives_though_the_system_forbids_to_ask(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    def forbidden(*_: Any) -> None:
        raise PermissionError(f"{name} is not allowed here")

    monkeypatch.setattr(os, name, forbidden)
    for work in (give_way, lambda: wait_for_turn(True), lambda: wait_for_turn(False), lambda: set_slice(0.008)):
        in_thread(work)
    assert priority._is_usual() == (name != "sched_getscheduler")


def test_operator_keeps_a_policy_that_looks_like_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def main() -> None:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        monkeypatch.setattr(priority, "_USUAL", priority._is_usual())  # as if the process had begun so
        wait_for_turn(True)
        wait_for_turn(False)
        give_way()
        assert os.sched_getscheduler(0) == os.SCHED_BATCH

    in_thread(main)
