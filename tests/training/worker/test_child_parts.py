"""The child's mouth, what it reports, the lock of its folder, and its order."""

import json
import os
import threading
from pathlib import Path

import pytest

from jobs.model import Progress
from training.watching.sink import About, Picture, Snapshot
from training.worker import lock, memory, reporting
from training.worker.process import last_line
from training.worker.protocol import Advance, Log, Report, read_report
from training.worker.reporting import Reporter
from training.worker.speech import Speech

PROGRESS = Progress(step=1, steps=9, stage="all", seconds=1, images_per_second=1, eta_s=None, losses={}, epoch=0.1)


def test_reports_arrive_in_order_and_whole() -> None:
    read_end, write_end = os.pipe()
    speech = Speech(write_end)
    told: list[Report] = [Log(message="x" * 100_000), Advance(progress=PROGRESS, epochs=(1,)), Log(message="é\n")]
    heard: list[Report] = []

    def listen() -> None:
        with os.fdopen(read_end, "rb") as lines:
            heard.extend(read_report(line) for line in lines)

    listener = threading.Thread(target=listen)
    listener.start()
    for report in told:
        speech.tell(report)
    speech.flush(10)
    os.close(write_end)
    listener.join(10)
    assert heard == told


def test_worker_that_does_not_listen_holds_up_nothing_and_hears_the_newest_progress() -> None:
    read_end, write_end = os.pipe()
    speech = Speech(write_end)
    speech.tell(Log(message="x" * 200_000))  # more than a pipe takes
    for step in range(5000):
        speech.tell(Advance(progress=PROGRESS.model_copy(update={"step": step})))
    speech.flush(0.1)
    with os.fdopen(read_end, "rb") as lines:
        assert isinstance(read_report(lines.readline()), Log)
        assert read_report(lines.readline()) == Advance(progress=PROGRESS.model_copy(update={"step": 4999}))
    os.close(write_end)


def test_reports_to_a_worker_that_is_gone_are_no_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    speech = Speech(write_end)
    speech.tell(Log(message="anybody?"))
    speech.flush(10)
    os.close(write_end)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in its first place."""
    now = [100.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    return now


def snapshot(step: int, epoch: float) -> Snapshot:
    return Snapshot(step, 100, "all", 1.0, 2.0, None, epoch, {"loss": float("nan"), "kl": 1.0})


def test_progress_is_told_once_a_second_and_every_epoch_when_it_is_over(tmp_path: Path, clock: list[float]) -> None:
    told: list[Report] = []
    reporter = Reporter(About("tiny", {}, tmp_path, 0, 100, "cpu"), told.append, lambda: None)
    moments = [
        (10, 0.5, 100.0),
        (12, 0.6, 100.2),
        (20, 1.0, 100.3),
        (30, 1.5, 100.4),
        (60, 3.1, 100.5),
        (100, 5, 100.6),
    ]
    for step, epoch, time in moments:
        clock[0] = time
        reporter.progress(snapshot(step, epoch))
    advances = [report for report in told if isinstance(report, Advance)]
    assert [(one.progress.step, one.epochs) for one in advances] == [(10, ()), (20, (1,)), (60, (2, 3)), (100, (4, 5))]
    assert advances[0].progress.losses == {"kl": 1.0}  # JSON has no NaN


def test_run_that_goes_on_tells_the_epochs_since_then_and_its_end_always(tmp_path: Path) -> None:
    told: list[Report] = []
    reporter = Reporter(About("tiny", {}, tmp_path, 20, 50, "cpu"), told.append, lambda: None)
    for step, epoch in [(41, 4.1), (50, 4.96)]:
        reporter.progress(Snapshot(step, 50, "all", 1.0, 2.0, None, epoch, {}))
    assert [report.epochs for report in told if isinstance(report, Advance)] == [(3, 4), (4,)]


def test_every_picture_is_told_by_its_file(tmp_path: Path) -> None:
    told: list[Report] = []
    trained: list[bool] = []
    reporter = Reporter(About("tiny", {}, tmp_path, 0, 100, "cpu"), told.append, lambda: trained.append(True))
    for step in (10, 20, 30, 100):
        reporter.picture(Picture(step, step / 10, b"PNG"))
    paths = [report.path for report in told if not isinstance(report, Log)]
    assert [path.relative_to(tmp_path.resolve()) for path in paths] == [
        Path(f"pictures/{step:07d}.png") for step in (10, 20, 30, 100)
    ]
    reporter.publishing()
    assert trained == [True]


def test_folder_has_one_holder_at_a_time_who_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    said: list[str] = []
    entered = threading.Event()

    def second() -> None:
        with lock.hold(folder, said.append):
            entered.set()

    with lock.hold(folder, said.append):
        assert json.loads((folder / lock.LOCK).read_text())["pid"] == os.getpid()
        with lock.try_hold(folder) as ours:
            assert not ours
        thread = threading.Thread(target=second)
        thread.start()
        assert not entered.wait(0.5)
    thread.join(10)
    assert entered.is_set()
    assert said[0].startswith(f"process {os.getpid()} on ")
    assert len(said) == 1


def test_kills_for_want_of_memory_are_counted_where_the_kernel_counts_them(tmp_path: Path) -> None:
    own = tmp_path / "cgroup"
    own.write_text("0::/job\n")
    assert memory.kills(tmp_path, own) == 0
    (tmp_path / "memory.events").write_text("low 0\noom 3\noom_kill 2\n")
    assert memory.kills(tmp_path, own) == 2
    (tmp_path / "job").mkdir()
    (tmp_path / "job" / "memory.events").write_text("oom_kill 5\n")
    assert memory.kills(tmp_path, own) == 5
    assert memory.kills(tmp_path, tmp_path / "none") == 0


def test_last_words_are_the_last_line_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert last_line(log) == ""
    log.write_bytes(b"first\n" + b"x" * 5000 + b"\nlast \xff\n\n")
    assert last_line(log) == "last \ufffd"
