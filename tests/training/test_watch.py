"""What people see: the live view of a run here, and of a job anywhere."""

import io
import itertools
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from jobs.database import open_database
from jobs.errors import DatabaseError, JobNotFoundError
from jobs.ledger import Ledger
from jobs.model import Failure, Job, NewJob, Progress, Result, WorkerInfo
from training import __main__ as program
from training.watching import follow as follow_module
from training.watching.follow import JobView, follow
from training.watching.history import LIMIT, History
from training.watching.ledger import find_job
from training.watching.plot import curves, sparkline
from training.watching.scalars import ScalarFile, read_scalars
from training.watching.sink import About, Ending, Picture, Snapshot
from training.watching.terminal import Terminal
from training.watching.view import RunView

RECIPE = {"name": "garments", "family": "vae", "data": {"name": "fashion-mnist"}}


def snapshot(step: int, loss: float = 1.0, steps: int = 100) -> Snapshot:
    return Snapshot(step, steps, "elbo", float(step), 2703.4, 84.0, step / 10, {"vae.loss": loss, "vae.rate": 2 * loss})


def terminal(width: int = 100, height: int = 40) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, height=height, color_system=None)


def drawn(view: RunView, width: int = 100, height: int = 40) -> str:
    console = terminal(width, height)
    console.print(view)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# The course of the losses.


def test_sparkline_rises_with_its_values_and_keeps_to_its_width() -> None:
    assert sparkline([1, 2, 3, 4, 5, 6, 7, 8], 8) == "▁▂▃▄▅▆▇█"
    assert len(sparkline(list(range(1000)), 20)) == 20
    assert sparkline([5.0, 5.0, 5.0], 8) == "▅▅▅"
    assert sparkline([], 8) == ""


def test_curve_falls_from_the_upper_left_to_the_lower_right_and_carries_its_scale() -> None:
    lines = [line.plain for line in curves([([(i, 100.0 - i) for i in range(101)], "cyan")], width=40, height=5)]
    assert len(lines) == 5
    blank = "⠀"
    places = [min(i for i, c in enumerate(line[9:]) if c != blank) for line in lines]
    assert places == sorted(places)
    assert float(lines[0].split()[0]) > float(lines[-1].split()[0])


def test_one_wild_value_does_not_flatten_the_rest() -> None:
    values = [1e6] + [float(i) for i in range(1, 100)]
    assert len(set(sparkline(values, 100))) == 8


def test_history_is_bounded_and_keeps_the_whole_course() -> None:
    history = History()
    for step in range(10 * LIMIT):
        history.add(step, {"a": float(step)})
    steps = [step for step, _ in history.points("a")]
    assert LIMIT / 2 <= len(steps) <= LIMIT
    assert steps == history.values("a")
    gaps = [later - earlier for earlier, later in itertools.pairwise(steps)]
    assert max(gaps) == min(gaps[:-1])  # the last point is of fewer values
    assert steps[0] < gaps[0]
    assert steps[-1] > 10 * LIMIT - 1 - gaps[0]


def test_history_of_a_run_that_went_back_forgets_what_is_played_again_and_leaves_out_nan() -> None:
    history = History()
    for step in range(1, 6):
        history.add(step, {"a": 1.0})
    history.add(3, {"a": 2.0, "b": float("nan")})
    assert history.points("a") == [(1, 1.0), (2, 1.0), (3, 2.0)]
    assert history.names == ["a"]


# The view.


def test_view_says_where_the_run_is_how_fast_how_long_and_where_its_files_are() -> None:
    view = RunView("garments · vae", "training", {"pictures": "runs/garments/pictures"})
    for step in range(1, 51):
        view.take(snapshot(step, 100 / step))
    text = drawn(view)
    for part in ("garments · vae", "training", "50%", "step 50 of 100", "epoch 5.0", "elbo", "2,703 images/s"):
        assert part in text
    assert "0:01:24 left" in text
    assert "runs/garments/pictures" in text
    assert "vae.rate" in text
    assert "█" in text
    assert any("⠁" <= c <= "⣿" for c in text)


@pytest.mark.parametrize(("width", "height"), [(60, 18), (80, 24), (200, 60)])
def test_view_fits_into_terminals_of_all_sizes(width: int, height: int) -> None:
    view = RunView("garments · vae")
    for step in range(1, 2000):
        view.take(snapshot(step, 100 / step, 2000))
    lines = drawn(view, width, height).splitlines()
    assert len(lines) <= height
    assert max(len(line) for line in lines) <= width


def test_view_of_a_run_without_a_round_says_so() -> None:
    assert "no round is finished yet" in drawn(RunView("garments", "queued"))


def test_terminal_draws_where_it_can_and_keeps_the_losses_of_earlier_sessions(tmp_path: Path) -> None:
    earlier = ScalarFile(tmp_path, 0)
    earlier.progress(snapshot(10, 5.0))
    earlier.close(Ending.STOPPED)
    console = terminal()
    shown = Terminal(About("garments", RECIPE, tmp_path, 10, 100, "cpu"), console)
    shown.progress(snapshot(11, 4.0))
    shown.picture(Picture(11, 1.1, b""))
    shown.publishing()
    shown.close(Ending.PUBLISHED)
    assert [step for step, _ in shown.view.history.points("vae.loss")] == [10, 11]
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for part in ("step 11 of 100", "0000011.png", "RSS", "CPU", "publishing", "published", "tensorboard --logdir"):
        assert part in text


def test_where_there_is_no_terminal_a_line_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="training.progress")
    console = Console(file=io.StringIO(), force_terminal=False)
    shown = Terminal(About("garments", RECIPE, tmp_path, 0, 100, "cpu"), console)
    for step in (1, 2, 100):
        shown.progress(snapshot(step))
    shown.close(Ending.STOPPED)
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue() == ""
    assert [record.getMessage()[:12] for record in caplog.records] == ["step 1 of 10", "step 100 of "]
    assert "2,703 images/s, 0:01:24 left: vae.loss 1, vae.rate 2" in caplog.text


def test_scalars_of_a_run_that_went_back_have_each_step_once(tmp_path: Path) -> None:
    first = ScalarFile(tmp_path, 0)
    for step in (2, 4, 6):
        first.progress(snapshot(step))
    first.close(Ending.FAILED)
    path = tmp_path / "scalars.jsonl"
    path.write_text(path.read_text()[:-10])  # killed while it wrote
    second = ScalarFile(tmp_path, 3)
    second.progress(snapshot(4, 7.0))
    second.close(Ending.STOPPED)
    assert [(step, losses["vae.loss"]) for step, _, losses in read_scalars(tmp_path)] == [(2, 1.0), (4, 7.0)]
    assert [json.loads(line)["round"] for line in path.read_text().splitlines()] == [2, 4]


# Jobs.


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}"))


def submitted(ledger: Ledger, name: str = "garments") -> Job:
    return ledger.submit(NewJob(recipe={**RECIPE, "name": name}))[0]


def started(ledger: Ledger, job: Job) -> Job:
    ledger.register(WorkerInfo(instance="w-1", name="w", host="here", pid=1, device="cpu"))
    found = ledger.start(job.id, job.attempt, "w-1")
    assert found is not None
    return found


def advance(ledger: Ledger, job: Job, step: int) -> None:
    s = snapshot(step)
    progress = Progress(**{name: getattr(s, name) for name in Progress.model_fields})
    ledger.progress(job.id, job.fence, progress, store_event=True)


def publish(ledger: Ledger, job: Job) -> None:
    metrics = {"frechet_distance": 6.97}
    result = Result(name=job.name, version=3, digest="0" * 64, metrics=metrics, promoted=True, reason="6.97 < 7.2")
    ledger.finish(job.id, job.fence, "succeeded", result=result)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_PAUSE_S", "_PAUSE_AWAY_S", "_LINE_EVERY_S"):
        monkeypatch.setattr(follow_module, name, 0.01)


def watched(ledger: Ledger, job: Job, console: Console, meanwhile: Callable[[], None]) -> bool:
    """Watch in this thread what another one does."""
    worker = threading.Thread(target=meanwhile)
    worker.start()
    try:
        return follow(ledger, job, console)
    finally:
        worker.join()


@pytest.mark.usefixtures("quick")
def test_watch_shows_a_job_from_the_queue_to_its_bundle(ledger: Ledger) -> None:
    job = submitted(ledger)
    console = terminal(width=140)

    def work() -> None:
        running = started(ledger, job)
        advance(ledger, running, 40)
        ledger.picture(job.id, running.fence, b"png", {"step": 40, "epoch": 4.0})
        ledger.log(job.id, running.fence, {"message": "exporting and measuring"})
        time.sleep(0.1)
        publish(ledger, running)

    assert watched(ledger, job, console, work) is True
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    for part in ("step 40 of 100", "exporting and measuring", "garments@3, promoted: 6.97 < 7.2", "succeeded"):
        assert part in text
    for part in ("cpu of here", "frechet_distance 6.97", f"1, the latest at epoch 4.0: /training/jobs/{job.id}/"):
        assert part in text


@pytest.mark.usefixtures("quick")
def test_watch_that_begins_anew_shows_the_same_from_the_start(ledger: Ledger) -> None:
    job = started(ledger, submitted(ledger))
    advance(ledger, job, 10)
    ledger.finish(job.id, job.fence, "failed", failure=Failure(code="diverged", message="loss is nan"))
    texts = []
    for _ in range(2):
        console = Console(file=io.StringIO(), width=120)
        assert follow(ledger, ledger.get(job.id), console) is False
        assert isinstance(console.file, io.StringIO)
        texts.append(console.file.getvalue())
    assert texts[0] == texts[1]
    assert texts[0].splitlines() == [
        "queued",
        "running on w-1",
        "failed: loss is nan (diverged)",
        "step 10 of 100, epoch 1.0, elbo, 2,703 images/s, 0:01:24 left: vae.loss 1, vae.rate 2",
    ]


@pytest.mark.usefixtures("quick")
def test_watch_of_a_job_that_was_resumed_goes_on_past_its_first_end(ledger: Ledger) -> None:
    first = started(ledger, submitted(ledger))
    ledger.finish(first.id, first.fence, "failed", failure=Failure(code="disk_full", message="no space"))
    job = ledger.resume(first.id)
    console = Console(file=io.StringIO(), width=120)
    assert watched(ledger, job, console, lambda: publish(ledger, started(ledger, job))) is True
    assert isinstance(console.file, io.StringIO)
    assert "running on w-1, attempt 2" in console.file.getvalue()


@pytest.mark.usefixtures("quick")
def test_watch_waits_for_a_database_that_went_away(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    job = started(ledger, submitted(ledger))
    publish(ledger, job)
    real, failures = ledger.events, [DatabaseError("gone"), DatabaseError("gone")]

    def events(*arguments: object) -> object:
        if failures:
            raise failures.pop()
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ledger, "events", events)
    console = terminal()
    assert follow(ledger, ledger.get(job.id), console) is True
    assert isinstance(console.file, io.StringIO)
    assert "database away" in console.file.getvalue()
    assert failures == []


def test_many_events_are_read_page_by_page_and_each_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_module, "_PAGE", 3)
    job = started(ledger, submitted(ledger))
    for i in range(10):
        ledger.log(job.id, job.fence, {"message": str(i)})
    shown = JobView(job)
    lines = follow_module._news(ledger, shown)
    assert lines[2:] == [str(i) for i in range(10)]
    assert follow_module._news(ledger, shown) == []


def test_job_is_found_by_id_by_its_end_and_by_the_models_name(ledger: Ledger) -> None:
    first, second = submitted(ledger), submitted(ledger)
    other = submitted(ledger, "faces")
    assert find_job(ledger, first.id) == first
    assert find_job(ledger, second.id[-8:]) == second
    assert find_job(ledger, "garments") == second
    ledger.cancel(second.id)
    assert find_job(ledger, "garments").id == first.id
    assert find_job(ledger, "faces") == other
    with pytest.raises(JobNotFoundError, match="nobody"):
        find_job(ledger, "nobody")


def test_command_lists_live_jobs_and_workers_and_ends_by_how_the_job_ended(
    ledger: Ledger, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    database = ["--database", f"sqlite:///{tmp_path / 'jobs.sqlite'}"]
    job = submitted(ledger)
    assert program.main(["watch", *database]) == 0
    listed = capsys.readouterr().out
    assert job.id in listed
    assert "no worker is alive: start one with" in listed
    running = started(ledger, job)
    advance(ledger, running, 40)
    ledger.beat("w-1", job.id)
    assert program.main(["watch", *database]) == 0
    listed = capsys.readouterr().out
    assert "40% of 100" in listed
    assert "w-1 (cpu of here, busy)" in listed
    publish(ledger, running)
    assert program.main(["watch", *database, job.id]) == 0
    assert "published garments@3" in capsys.readouterr().out
    assert program.main(["watch", *database, "nobody"]) == 1
    assert "nobody" in capsys.readouterr().err


def test_looking_for_jobs_makes_no_database(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "jobs.sqlite"
    assert program.main(["watch", "--database", f"sqlite:///{path}"]) == 0
    assert "no jobs yet" in capsys.readouterr().out
    assert not path.exists()


@pytest.mark.usefixtures("quick")
def test_watch_reads_postgresql_as_well(postgres_url: str) -> None:
    ledger = Ledger(open_database(postgres_url))
    job = started(ledger, submitted(ledger))
    publish(ledger, job)
    console = Console(file=io.StringIO(), width=120)
    assert follow(ledger, find_job(ledger, job.id[-10:]), console) is True
    ledger.database.close()


@pytest.mark.usefixtures("quick")
def test_last_step_is_shown_though_its_event_came_too_soon_after_another(ledger: Ledger) -> None:
    job = started(ledger, submitted(ledger))
    advance(ledger, job, 90)
    advance(ledger, job, 100)  # within the same second: no event of its own
    assert [event.data["step"] for event in ledger.events(job.id) if event.kind == "progress"] == [90]
    publish(ledger, job)
    console = terminal()
    assert follow(ledger, ledger.get(job.id), console) is True
    assert isinstance(console.file, io.StringIO)
    assert "step 100 of 100" in console.file.getvalue()
