"""MLflow is told of a run, and can neither end nor hold up one."""

import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bundle.store import Bundle, Store
from tests.training.samples import ROOT
from training import __main__ as program
from training import tracking
from training.errors import TrackingError
from training.tracking import Tracker, check_tracking, tracker
from training.watching.sink import About, Ending, Picture, Snapshot

FAKE = Path(__file__).parent / "fake_mlflow"
RECIPE = {"name": "tiny", "family": "gan", "data": {"name": "mnist"}, "model": {"hidden": [4, 4], "r1": 0.5}}
URI = "http://tracking.invalid"


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A fake MLflow, found before one that is installed, new for each test."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "mlflow"]:
            del sys.modules[name]

    forget()
    monkeypatch.syspath_prepend(str(FAKE))
    monkeypatch.setenv(tracking.URI, URI)
    for name in tracking._PATIENCE:
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(tracking, "_SEND_EVERY_S", 0.0)
    yield importlib.import_module("mlflow")
    forget()


def about(folder: Path, step: int = 0) -> About:
    return About("tiny", RECIPE, folder, step, 100, "cpu")


def snapshot(step: int) -> Snapshot:
    return Snapshot(step, 100, "adversarial", 1.0, 50.0, 1.0, step / 10, {"generator.loss": 2.0})


def bundle() -> Bundle:
    return Store(ROOT / "models").open("mnist-vae")


def new(folder: Path, step: int = 0) -> Tracker:
    found = tracker(about(folder, step))
    assert found is not None
    return found


def steps(run: Any, key: str = "generator.loss") -> list[int]:
    return [metric.step for metric in run.metrics if metric.key == key]


def test_parameters_metrics_pictures_manifest_and_tags_arrive(mlflow: Any, tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0000010.png").write_bytes(b"png")
    sink = new(tmp_path)
    for step in (5, 10, 100):
        sink.progress(snapshot(step))
    sink.picture(Picture(10, 1.0, b"png"))
    sink.publishing()
    sink.published(bundle())
    sink.close(Ending.PUBLISHED)
    (run,) = mlflow.RUNS.values()
    assert (run.info.status, run.info.run_name) == ("FINISHED", "tiny")
    assert run.params == {
        "name": "tiny", "family": "gan", "data.name": "mnist", "model.hidden": "[4, 4]", "model.r1": "0.5"
    }  # fmt: skip
    assert steps(run) == steps(run, "epoch") == steps(run, "images_per_second") == [5, 10, 100]
    figures = {metric.key: metric.value for metric in run.metrics}
    assert figures["frechet_distance"] == next(
        m.value for m in bundle().manifest.metrics if m.name == "frechet_distance"
    )
    assert set(run.artifacts) == {"pictures/0000010.png", "manifest.json", "preview.png"}
    assert run.artifacts["manifest.json"] == (bundle().path / "manifest.json").read_bytes()
    assert run.tags["genserve.bundle"] == "mnist-vae@1"
    assert run.tags["genserve.digest"] == bundle().digest
    assert run.tags["genserve.family"] == "gan"
    assert mlflow.EXPERIMENTS == {"genserve": "0"}


def test_run_that_goes_on_stays_one_run_without_steps_twice(mlflow: Any, tmp_path: Path) -> None:
    first = new(tmp_path)
    for step in range(1, 9):
        first.progress(snapshot(step))
    first.close(Ending.STOPPED)
    (run,) = mlflow.RUNS.values()
    assert run.info.status == "KILLED"
    second = new(tmp_path, step=5)
    for step in range(6, 12):
        second.progress(snapshot(step))
    second.close(Ending.FAILED)
    assert list(mlflow.RUNS.values()) == [run]
    assert steps(run) == list(range(1, 12))
    assert run.info.status == "FAILED"
    third = new(tmp_path)  # from its start: --restart
    third.close(Ending.STOPPED)
    assert len(mlflow.RUNS) == 2


def test_what_a_server_missed_while_it_was_away_is_said_later(mlflow: Any, tmp_path: Path) -> None:
    mlflow.failing |= {"create_run": 1, "log_batch": 2}
    sink = new(tmp_path)
    for step in range(1, 8):
        sink.progress(snapshot(step))
    sink.close(Ending.PUBLISHED)
    (run,) = mlflow.RUNS.values()
    assert steps(run) == list(range(1, 8))
    assert run.params["model.r1"] == "0.5"
    assert run.info.status == "FINISHED"


def test_server_that_never_answers_is_warned_of_once_and_raises_nothing(
    mlflow: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mlflow.failing["get_experiment_by_name"] = 10**6
    sink = new(tmp_path)
    for step in range(1, 20):
        sink.progress(snapshot(step))
        sink.picture(Picture(step, 0.1, b""))
    sink.close(Ending.PUBLISHED)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert URI in warnings[0]
    assert "connection refused. The run goes on" in warnings[0]
    assert mlflow.calls.count("get_experiment_by_name") > 1


def test_slow_server_holds_up_neither_a_round_nor_for_long_the_end(
    mlflow: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking, "_LAST_WORDS_S", 0.2)
    monkeypatch.setattr(tracking, "_WAITING", 10)
    mlflow.delay_s = 0.5
    sink = new(tmp_path)
    began = time.monotonic()
    for step in range(1, 1000):
        sink.progress(snapshot(step))
    told = time.monotonic() - began
    sink.close(Ending.STOPPED)
    ended = time.monotonic() - began - told
    assert told < mlflow.delay_s * 0.9  # a thousand calls wait for not even one answer
    assert ended < 10 * tracking._LAST_WORDS_S
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    mlflow.delay_s = 0.0
    sink._thread.join()


def test_without_the_variable_nothing_is_tracked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(tracking.URI, raising=False)
    assert tracker(about(tmp_path)) is None


def test_asked_for_and_not_installed_is_an_error_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(tracking.URI, URI)
    monkeypatch.setattr(tracking, "find_spec", lambda _: None)
    with pytest.raises(TrackingError, match=r"pip install 'genserve\[mlflow\]'"):
        check_tracking()
    recipe = str(ROOT / "configs" / "fashion-vae.toml")
    assert program.main(["--runs", str(tmp_path / "runs"), "train", recipe]) == 1
    assert "MLflow is not installed" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_real_client_with_a_store_in_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv(tracking.URI, (tmp_path / "mlruns").as_uri())
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "0000010.png").write_bytes(b"png")
    for first, last, ending in ((1, 8, Ending.STOPPED), (6, 100, Ending.PUBLISHED)):
        sink = new(tmp_path, first - 1)
        for step in range(first, last + 1):
            sink.progress(snapshot(step))
        sink.picture(Picture(10, 1.0, b"png"))
        if ending == Ending.PUBLISHED:
            sink.published(bundle())
        sink.close(ending)
    from mlflow import MlflowClient

    client = MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("genserve").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["model.r1"] == "0.5"
    assert [m.step for m in client.get_metric_history(run.info.run_id, "epoch")] == list(range(1, 101))
    assert {item.path for item in client.list_artifacts(run.info.run_id)} == {
        "pictures",
        "manifest.json",
        "preview.png",
    }
