"""As much of MLflow's client as is used, with a server in memory that can be told to fail or to be slow."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag


@dataclass
class Info:
    run_id: str
    run_name: str
    status: str = "RUNNING"


@dataclass
class FakeRun:
    info: Info
    experiment: str
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    metrics: list[Metric] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Experiment:
    experiment_id: str


RUNS: dict[str, FakeRun] = {}
EXPERIMENTS: dict[str, str] = {}
failing: dict[str, int] = {}  # method → calls that still fail
calls: list[str] = []
delay_s = 0.0


def _call(name: str) -> None:
    calls.append(name)
    time.sleep(delay_s)
    if failing.get(name, 0) > 0:
        failing[name] -= 1
        raise ConnectionError(f"{name}: connection refused")


class MlflowClient:
    def __init__(self, tracking_uri: str) -> None:
        self.tracking_uri = tracking_uri

    def get_experiment_by_name(self, name: str) -> Experiment | None:
        _call("get_experiment_by_name")
        return Experiment(EXPERIMENTS[name]) if name in EXPERIMENTS else None

    def create_experiment(self, name: str) -> str:
        _call("create_experiment")
        return EXPERIMENTS.setdefault(name, str(len(EXPERIMENTS)))

    def create_run(self, experiment_id: str, run_name: str) -> FakeRun:
        _call("create_run")
        run = FakeRun(Info(f"run-{len(RUNS)}", run_name), experiment_id)
        RUNS[run.info.run_id] = run
        return run

    def update_run(self, run_id: str, status: str) -> None:
        _call("update_run")
        RUNS[run_id].info.status = status

    def get_metric_history(self, run_id: str, key: str) -> list[Metric]:
        _call("get_metric_history")
        return [metric for metric in RUNS[run_id].metrics if metric.key == key]

    def log_batch(
        self, run_id: str, metrics: Sequence[Metric] = (), params: Sequence[Param] = (), tags: Sequence[RunTag] = ()
    ) -> None:
        _call("log_batch")
        assert len(metrics) <= 1000
        assert len(params) <= 100
        RUNS[run_id].metrics += metrics
        RUNS[run_id].params |= {param.key: param.value for param in params}
        RUNS[run_id].tags |= {tag.key: tag.value for tag in tags}

    def log_artifact(self, run_id: str, local_path: str, artifact_path: str | None = None) -> None:
        _call("log_artifact")
        path = Path(local_path)
        RUNS[run_id].artifacts[f"{artifact_path}/{path.name}" if artifact_path else path.name] = path.read_bytes()

    def set_terminated(self, run_id: str, status: str) -> None:
        _call("set_terminated")
        RUNS[run_id].info.status = status
