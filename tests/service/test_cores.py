"""Cores by affinity and by a container's quota; threads that let the event loop pass."""

import os
import sys
import threading
from pathlib import Path

import pytest

from service.cores import usable_cores
from service.priority import NICENESS, give_way

PRESENT = len(os.sched_getaffinity(0))


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_a_containers_quota_limits_the_cores(tmp_path: Path, files: dict[str, str], quota: int) -> None:
    assert usable_cores(write(tmp_path, files)) == min(PRESENT, quota)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"cpu.max": "max 100000\n"},
        {"cpu.max": "nonsense\n"},
        {"cpu.max": "100000 0\n"},
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"},
    ],
)
def test_without_a_quota_the_affinity_counts(tmp_path: Path, files: dict[str, str]) -> None:
    assert usable_cores(write(tmp_path, files)) == PRESENT


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities of their own here")
def test_a_thread_gives_way_alone() -> None:
    found: list[int] = []

    def work() -> None:
        give_way()
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    before = os.getpriority(os.PRIO_PROCESS, 0)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [min(19, before + NICENESS)]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


@pytest.mark.parametrize("name", ["getpriority", "setpriority"])
def test_a_thread_lives_where_it_may_not_give_way(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    asked: list[int] = []

    def forbidden(*_: int) -> int:
        asked.append(1)
        raise PermissionError(f"{name} is not allowed here")

    monkeypatch.setattr(os, name, forbidden)
    give_way()
    assert asked == ([1] if sys.platform == "linux" else [])
