"""Runs are compared by what was measured, and say what they differ in."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bundle.manifest import Metric
from bundle.store import Bundle, Store
from jobs.database import open_database
from jobs.ledger import Ledger
from jobs.model import Failure, NewJob, Progress, Result, WorkerInfo
from tests.support.bundles import publish
from training import __main__ as program
from training.errors import TrainingError
from training.runs import Run, find_runs, ranked, select
from training.runs_table import runs_tables
from training.watching.run_file import RunFile
from training.watching.scalars import ScalarFile
from training.watching.sink import About, Ending, Snapshot


def recipe(name: str = "tiny", **model: Any) -> dict[str, Any]:
    train = {"epochs": 2.0}
    return {"name": name, "family": "vae", "seed": 0, "data": {"name": "mnist"}, "model": model, "train": train}


def folder(
    runs: Path, name: str, of: dict[str, Any], loss: float, ending: Ending, bundle: Bundle | None = None
) -> None:
    about = About(name, of, runs / name, 0, 100, "cpu")
    record, scalars = RunFile(about), ScalarFile(about.folder, 0)
    last = 100 if ending == Ending.PUBLISHED else 45
    scalars.progress(Snapshot(last, 100, "elbo", 60.0, 10.0, 1.0, 1.0, {"vae.loss": loss}))
    if bundle:
        record.published(bundle)
    for sink in (record, scalars):
        sink.close(ending)


def run(
    label: str, family: str = "vae", data: str = "mnist", protocol: str = "10,000 samples", **figures: float
) -> Run:
    model = {"sigma": figures.pop("sigma", 0.5)}
    protocols = dict.fromkeys(figures, protocol)
    table = {"family": family, "data": {"name": data}, "model": model}
    return Run(label, "published", family, data, 10, 5.0, figures, protocols, table)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_database(f"sqlite:///{tmp_path / 'jobs.sqlite'}"))


def started(ledger: Ledger, of: dict[str, Any]) -> Any:
    job, _ = ledger.submit(NewJob(recipe=of))
    ledger.register(WorkerInfo(instance="w-1", name="w", host="here", pid=1, device="cpu"))
    found = ledger.start(job.id, 1, "w-1")
    assert found is not None
    return found


def table(runs: list[Run], sort: str | None = None, columns: tuple[str, ...] = (), width: int = 200) -> str:
    console = Console(width=width, record=True)
    with console.capture() as captured:
        console.print(runs_tables(runs, sort, columns, reverse=False, whole=False, width=width))
    return captured.get()


def test_bundle_its_folder_and_its_job_are_one_run(tmp_path: Path, ledger: Ledger) -> None:
    store, runs = Store(tmp_path / "models"), tmp_path / "runs"
    bundle = publish(store.root, "tiny")
    job = started(ledger, recipe())
    result = Result(name="tiny", version=1, digest=bundle.digest, metrics={}, promoted=False, reason="manual")
    ledger.finish(job.id, job.fence, "succeeded", result=result)
    folder(runs, f"jobs/{job.id}", recipe(), 3.5, Ending.PUBLISHED, bundle)
    (found,) = find_runs(store, runs, ledger)
    assert (found.label, found.state) == ("tiny@1", "published")
    assert found.figures["vae.loss"] == 3.5


def test_runs_that_were_not_published_are_there_with_their_losses_and_how_they_ended(
    tmp_path: Path, ledger: Ledger
) -> None:
    runs = tmp_path / "runs"
    folder(runs, "half", recipe("half"), 7.0, Ending.STOPPED)
    job = started(ledger, recipe("late"))
    progress = {"stage": "elbo", "seconds": 9.0, "images_per_second": 1.0, "eta_s": 1.0, "epoch": 0.1}
    ledger.progress(job.id, job.fence, Progress(step=3, steps=9, losses={"vae.loss": 8.0}, **progress), True)
    ledger.finish(job.id, job.fence, "failed", failure=Failure(code="diverged", message="loss is nan"))
    folder(runs, f"jobs/{job.id}", recipe("late"), 8.0, Ending.FAILED)
    found = {run.label: run for run in find_runs(Store(tmp_path / "models"), runs, ledger)}
    assert set(found) == {"half", f"jobs/{job.id}"}
    assert (found["half"].state, found["half"].figures) == ("stopped at 45%", {"vae.loss": 7.0})
    late = found[f"jobs/{job.id}"]
    assert (late.state, late.steps, late.figures) == ("failed: diverged", 3, {"vae.loss": 8.0})


def test_best_comes_first_whichever_way_a_figure_points() -> None:
    runs = [run("a", frechet_distance=9.0, ssim=0.9), run("b", frechet_distance=1.0, ssim=0.2), run("c")]
    assert [r.label for r in ranked(runs, "frechet_distance")] == ["b", "a", "c"]
    assert [r.label for r in ranked(runs, "ssim")] == ["a", "b", "c"]
    assert [r.label for r in ranked(runs, "ssim", reverse=True)] == ["b", "a", "c"]
    with pytest.raises(TrainingError, match=r"no run has the figure 'beauty'; there are: frechet_distance, ssim"):
        ranked(runs, "beauty")


def test_table_has_a_part_for_each_data_set_and_says_what_recipes_differ_in() -> None:
    runs = [run("a@1", sigma=0.5, frechet_distance=9.0), run("a@2", sigma=0.7, frechet_distance=1.0)]
    text = table([*runs, run("other", data="fashion-mnist", frechet_distance=5.0)])
    assert text.index("fashion-mnist") < text.index("other") < text.index("a@2") < text.index("a@1")
    assert "a@1: sigma 0.5" in text
    assert "a@2: sigma 0.7" in text
    assert "other:" not in text


def test_recipes_of_other_families_are_not_set_against_each_other() -> None:
    assert ": sigma" not in table([run("a", "vae", sigma=0.1), run("b", "gan", sigma=0.2)])


def test_figure_that_was_measured_in_another_way_is_marked() -> None:
    runs = [run("a", frechet_distance=2.0), run("b", protocol="100 samples", frechet_distance=3.0)]
    text = table(runs)
    assert "3*" in text
    assert "2*" not in text
    assert "not comparable" in text


def test_table_shows_what_is_asked_for_and_fits_into_narrow_terminals() -> None:
    figures = dict.fromkeys(("frechet_distance", "precision", "recall", "elbo", "psnr", "ssim", "odd"), 0.123456)
    runs = [run("quite-a-long-name@12", "inference", **figures)]
    assert "odd ↑" in table(runs, sort="odd")
    assert "precision" not in table(runs, columns=("odd",))
    narrow = table(runs, sort="odd", width=80)
    assert max(len(line) for line in narrow.splitlines()) <= 80
    assert "…" not in narrow


def test_runs_are_chosen_by_the_beginning_of_their_names() -> None:
    runs = [run("a@1"), run("a@2"), run("b@1")]
    assert [r.label for r in select(runs, ["a"])] == ["a@1", "a@2"]
    assert select(runs, []) == runs
    with pytest.raises(TrainingError, match="no run 'c'; there are: a@1, a@2, b@1"):
        select(runs, ["c"])


def test_command_compares_the_shipped_bundles_and_gives_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    places = ["--runs", str(tmp_path), "runs", "--database", f"sqlite:///{tmp_path / 'none.sqlite'}"]
    assert program.main([*places, "--sort", "ssim", "mnist"]) == 0
    text = capsys.readouterr().out
    assert text.index("mnist-vae@1") < text.index("mnist-gan@1")
    assert program.main([*places, "--json"]) == 0
    found = {run["label"]: run for run in json.loads(capsys.readouterr().out)}
    metrics: list[Metric] = Store(Path("models")).open("mnist-vae").manifest.metrics
    assert found["mnist-vae@1"]["figures"] == {metric.name: metric.value for metric in metrics}
    assert program.main([*places, "--sort", "beauty"]) == 1
    assert "no run has the figure 'beauty'" in capsys.readouterr().err


def test_comparing_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from training.__main__ import main; "
        f"main(['--runs', {str(tmp_path)!r}, 'runs', '--database', 'sqlite:///{tmp_path}/none.sqlite']); "
        "print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert answer.stdout.splitlines()[-1] == "False", answer.stderr
