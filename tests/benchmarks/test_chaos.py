"""The parts of the chaos run that need no deployment: what it plans, what it kills, and how it judges."""

import copy
import dataclasses
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from benchmarks import chaos_plan as plan
from benchmarks.chaos import versions
from benchmarks.chaos_client import recipe
from benchmarks.chaos_folders import folders
from benchmarks.chaos_plan import KINDS, Order, blows, orders
from benchmarks.chaos_processes import Kept, send
from benchmarks.chaos_verdict import Evidence, Story, Version, findings
from benchmarks.compare_command import PAGE
from bundle.recipes import Recipe, check_table
from bundle.store import Store
from tests.support.bundles import publish, spoil

RESULT = {"name": "chaos-0", "version": 1, "digest": "d"}
JOB = {
    "id": "1",
    "name": "chaos-0",
    "state": "succeeded",
    "attempt": 1,
    "progress": None,
    "result": RESULT,
    "failure": None,
    "cancel_requested": False,
}
EVENTS = [
    {"id": 1, "kind": "state", "data": {"state": "queued"}},
    {"id": 2, "kind": "state", "data": {"state": "running", "fence": 1}},
    {"id": 3, "kind": "state", "data": {"state": "running", "fence": 3}},
    {"id": 4, "kind": "state", "data": {"state": "succeeded"}},
]
TOLD = [{**event, "data": {**event["data"], "job": "1", "at": "now"}} for event in EVENTS]  # type: ignore[dict-item]
STORY = Story(Order("chaos-0", 0.0, 100), ["1", "1"], JOB, JOB, EVENTS, TOLD)
GOOD = Evidence([STORY], [Version("chaos-0@1", "1", "w", "d")], rows=1)


def against(evidence: Evidence) -> dict[str, list[str]]:
    """All findings that something speaks against."""
    return {one.what: one.against for one in findings(evidence) if one.against}


def with_story(**changes: Any) -> Evidence:
    """The good evidence, with another story."""
    return dataclasses.replace(GOOD, stories=[dataclasses.replace(STORY, **changes)])


def test_nothing_speaks_against_a_run_in_which_all_is_well() -> None:
    assert against(GOOD) == {}
    assert all(one.row[2] == "yes" for one in findings(GOOD))


@pytest.mark.parametrize(
    ("evidence", "what", "word"),
    [
        (with_story(ids=["1", "2"]), "every order is one job", "2 jobs"),
        (dataclasses.replace(GOOD, rows=2), "every order is one job", "2 jobs in the database"),
        (with_story(order=Order("chaos-0", 0, 100, cancel_s=1.0)), "ended as it was to", "not cancelled"),
        (
            with_story(row={**JOB, "state": "failed", "failure": {"code": "crashed", "message": "why"}}),
            "ended as it was to",
            "crashed why",
        ),
        (dataclasses.replace(GOOD, versions=[]), "has one version", "0 versions"),
        (dataclasses.replace(GOOD, versions=[*GOOD.versions, *GOOD.versions]), "has one version", "2 versions"),
        (
            dataclasses.replace(GOOD, versions=[Version("chaos-0@2", "1", "w", "d")]),
            "has one version",
            "its result says",
        ),
        (
            dataclasses.replace(GOOD, versions=[Version("chaos-0@1", "1", "w", "d", "it is cut off")]),
            "has one version",
            "cut off",
        ),
        (
            dataclasses.replace(GOOD, versions=[*GOOD.versions, Version("chaos-0@2", "7", "w", "d")]),
            "belongs to no such job",
            "the job 7",
        ),
        (with_story(sampled="no image"), "images are drawn", "no image"),
        (with_story(told=[TOLD[0], *TOLD[2:]]), "no gap", "missing [2]"),
        (with_story(told=[*TOLD, TOLD[-1]]), "no gap", "twice [4]"),
        (with_story(told=TOLD[:3]), "what psql shows", "event 4 was told as None"),
        (with_story(told=[TOLD[0], TOLD[1], {**TOLD[2], "kind": "log"}, TOLD[3]]), "what psql shows", "event 3"),
        (with_story(api={**JOB, "attempt": 2}), "for the API", "attempt is 2 for the API, 1 for psql"),
        (with_story(written=[EVENTS[0], EVENTS[2], EVENTS[1], EVENTS[3]]), "higher fence", "[3, 1]"),
        (dataclasses.replace(GOOD, shared=["1"]), "held one run's folder", "1"),
        (dataclasses.replace(GOOD, faults=["it ended"]), "unasked", "it ended"),
        (dataclasses.replace(GOOD, queued=["1-1 is PENDING"]), "queue holds nothing", "1-1"),
        (dataclasses.replace(GOOD, left=["process 7"]), "no process is left", "process 7"),
    ],
)
def test_whatever_is_wrong_speaks_against_the_run(evidence: Evidence, what: str, word: str) -> None:
    found = [" ".join(reasons) for said, reasons in against(evidence).items() if what in said]
    assert len(found) == 1
    assert word in found[0]


def test_equal_orders_with_different_weights_speak_against_the_run() -> None:
    other = copy.deepcopy(JOB) | {"id": "2", "name": "chaos-1", "result": {**RESULT, "name": "chaos-1"}}
    second = dataclasses.replace(STORY, order=Order("chaos-1", 0.0, 100), ids=["2"], api=other, row=other)
    both = [*GOOD.versions, Version("chaos-1@1", "2", "another", "d")]
    found = against(Evidence([STORY, second], both, rows=2))
    assert [*found] == ["equal orders have equal weights"]


def test_a_seed_says_what_happens_and_when() -> None:
    assert [*blows(1, 300)] == [*blows(1, 300)]
    assert [*blows(1, 300)] != [*blows(2, 300)]
    assert orders(1, 300, 10) == orders(1, 300, 10)
    assert orders(1, 300, 10) != orders(2, 300, 10)


def test_every_kind_of_blow_has_its_turn_before_one_comes_again() -> None:
    found = [blow.kind for blow in blows(3, 600)]
    assert sorted(found[: len(KINDS)]) == sorted(KINDS)
    assert sorted(found[len(KINDS) : 2 * len(KINDS)]) == sorted(KINDS)
    times = [blow.at for blow in blows(3, 600)]
    assert times == sorted(times)
    assert times[-1] < 600


@pytest.mark.parametrize("seed", range(5))
def test_two_orders_are_cancelled_and_one_of_them_is_resumed(seed: int) -> None:
    found = orders(seed, 600, 10)
    assert len({order.name for order in found}) == 10
    assert [order.wanted for order in found].count("cancelled") == 1
    cancelled = [order for order in found if order.cancel_s is not None]
    assert sorted(order.resume_s is not None for order in cancelled) == [False, True]
    assert max(order.at for order in found) <= 540


def test_order_is_a_recipe_that_the_service_takes() -> None:
    for order in orders(0, 600, 4):
        assert check_table(Recipe, recipe(order), order.name).train.rounds == order.rounds


def test_versions_are_read_from_the_store_with_what_is_wrong_with_them(tmp_path: Path) -> None:
    publish(tmp_path, "whole")
    spoil(publish(tmp_path, "damaged").path / "decode.onnx")
    found = {version.ref: version.damage for version in versions(Store(tmp_path))}
    assert found["whole@1"] is None
    assert "decode.onnx" in str(found["damaged@1"])


def test_kept_command_starts_again_and_its_unasked_ends_are_faults(tmp_path: Path) -> None:
    kept = Kept("sleeper", [sys.executable, "-c", "import time; time.sleep(60)"], os.environ, tmp_path, tmp_path)
    kept.start()
    first = kept.pid
    assert kept.send(signal.SIGKILL, pause_s=0.0)
    tend_until(kept, lambda: kept.starts == 2)
    assert kept.pid not in (None, first)
    kept.end()
    assert kept.faults == []
    assert kept.pid is None
    failing = Kept("failing", [sys.executable, "-c", "raise SystemExit(3)"], os.environ, tmp_path, tmp_path)
    failing.start()
    tend_until(failing, lambda: failing.faults)
    assert failing.faults == ["failing ended with 3 by itself"]
    failing.end()


def test_process_that_has_ended_is_not_sent_anything() -> None:
    running = subprocess.Popen([sys.executable, "-c", ""])
    process = psutil.Process(running.pid)
    running.wait()
    assert not send(process, signal.SIGKILL)


def test_run_folder_of_a_process_is_seen_and_whether_it_holds_the_lock(tmp_path: Path) -> None:
    run = tmp_path / "jobs" / "7"
    run.mkdir(parents=True)
    with (run / "worker.log").open("w"):
        assert folders(Path("/proc/self")) == {"7": False}
        with (run / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert folders(Path("/proc/self")) == {"7": True}
    assert folders(Path("/proc/self")) == {}


def test_every_kind_is_a_signal_to_somebody() -> None:
    assert {kind for name, kind in vars(plan).items() if name.isupper() and isinstance(kind, str)} == set(KINDS)


def test_the_page_of_the_repository_has_its_marks() -> None:
    assert re.search("<!-- chaos -->\n(.*\n)*<!-- end of chaos -->", PAGE.read_text())


def tend_until(kept: Kept, condition: Any) -> None:
    """Keep it going until something is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        kept.tend()
        time.sleep(0.02)
