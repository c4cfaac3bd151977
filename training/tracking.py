"""MLflow tracking, asked for by `MLFLOW_TRACKING_URI` (extra `mlflow`).

A thread of its own talks to the server, so a slow one never holds up a round; what fails is warned of once and the run
goes on. A run that is stopped and goes on stays one MLflow run, without steps twice.
"""

import contextlib
import json
import logging
import os
import queue
import threading
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from bundle.store import MANIFEST, Bundle
from training.errors import TrackingError
from training.provenance import code_revision
from training.watching.picture_folder import PICTURES
from training.watching.recipes import flat
from training.watching.sink import About, Ending, Picture, Snapshot

if TYPE_CHECKING:
    from mlflow import MlflowClient

_log = logging.getLogger(__name__)
URI, EXPERIMENT = "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"  # MLflow's own variables
RUN_FILE = "mlflow.json"
_SEND_EVERY_S = 5.0
_WAITING = 1000  # messages for a server that does not keep up; more are dropped
_LAST_WORDS_S = 15.0
_LONGEST_PARAMETER = 6000
_PARAMETERS, _METRICS = 100, 1000  # in one call, the most that MLflow takes
_UNSENT = 2000  # snapshots kept for a server that is away; beyond, every second one goes
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}  # its own are minutes
_STATUS = {Ending.PUBLISHED: "FINISHED", Ending.STOPPED: "KILLED", Ending.FAILED: "FAILED"}


def check_tracking() -> None:
    """Find out before anything starts whether tracking can be done if it is asked for.

    Raises:
        TrackingError: If `MLFLOW_TRACKING_URI` is set and MLflow is not installed.
    """
    if os.environ.get(URI) and find_spec("mlflow") is None:
        raise TrackingError(
            f"{URI} is set ({os.environ[URI]!r}), but MLflow is not installed; "
            f"install the extra (pip install 'genserve[mlflow]'), or unset the variable"
        )


def tracker(about: About) -> "Tracker | None":
    """The sink that tracks a run; None where `MLFLOW_TRACKING_URI` is not set.

    Raises:
        TrackingError: As `check_tracking`.
    """
    check_tracking()
    return Tracker(about, os.environ[URI]) if os.environ.get(URI) else None


class Tracker:
    """A run in MLflow: parameters, metrics, pictures, manifest, tags."""

    def __init__(self, about: About, uri: str) -> None:
        for key, value in _PATIENCE.items():
            os.environ.setdefault(key, value)
        self._run = _Run(about, uri)
        self._messages: queue.Queue[tuple[str, tuple[Any, ...]] | None] = queue.Queue(_WAITING)
        self._thread = threading.Thread(target=self._talk, name="mlflow", daemon=True)
        self._warned = self._given_up = False
        self._tell("begin")
        self._thread.start()

    def progress(self, snapshot: Snapshot) -> None:
        """Metrics: losses, speed, epoch."""
        self._tell("metrics", snapshot, int(time.time() * 1000))

    def picture(self, picture: Picture) -> None:
        """An artifact under `pictures/`."""
        self._tell("picture", picture)

    def publishing(self) -> None:
        """Nothing to send."""

    def published(self, bundle: Bundle) -> None:
        """The manifest's figures as metrics, the manifest and the preview as artifacts, the bundle's name as tags."""
        self._tell("bundle", bundle)

    def close(self, ending: Ending) -> None:
        """Say how the run ended, and wait for the server for a bounded time."""
        deadline = time.monotonic() + _LAST_WORDS_S
        for message in (("end", (ending,)), None):
            with contextlib.suppress(queue.Full):
                self._messages.put(message, timeout=max(0.0, deadline - time.monotonic()))
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._given_up = True
            self._warn(f"it did not take everything within {_LAST_WORDS_S:.0f} s")

    def _tell(self, what: str, *arguments: Any) -> None:
        try:
            self._messages.put_nowait((what, arguments))
        except queue.Full:
            self._warn("it does not keep up; some steps are left out")

    def _talk(self) -> None:
        while not self._given_up and (message := self._messages.get()):
            what, arguments = message
            try:
                getattr(self._run, what)(*arguments)
            except Exception as error:  # whatever a client, a proxy or a disk may raise: tracking never ends a run
                self._warn(f"{type(error).__name__}: {error}")

    def _warn(self, reason: str) -> None:
        if not self._warned:
            self._warned = True
            _log.warning("MLflow at %s: %s. The run goes on; its own logs are complete", self._run.uri, reason)


class _Run:
    """The conversation with the server; any method may fail, and what is still unsaid then is said by a later one."""

    def __init__(self, about: About, uri: str) -> None:
        self.about, self.uri = about, uri
        self._client: MlflowClient | None = None
        self._id = ""
        self._last_step = 0
        self._unsent: list[tuple[Snapshot, int]] = []
        self._tried = time.monotonic()

    def begin(self) -> None:
        from mlflow import MlflowClient  # takes a second to import, and only here

        client = MlflowClient(tracking_uri=self.uri)
        if not self._id and not self._goes_on(client):
            self._create(client)
        self._describe(client)
        self._client = client

    def metrics(self, snapshot: Snapshot, at_ms: int) -> None:
        self._unsent.append((snapshot, at_ms))
        if len(self._unsent) > _UNSENT:
            del self._unsent[::2]
        if time.monotonic() - self._tried > _SEND_EVERY_S or snapshot.step == snapshot.steps:
            self._send()

    def picture(self, picture: Picture) -> None:
        path = self.about.folder / PICTURES / f"{picture.step:07d}.png"
        self._connected().log_artifact(self._id, str(path), PICTURES)

    def bundle(self, bundle: Bundle) -> None:
        from mlflow.entities import Metric, RunTag

        self._send()
        manifest, now = bundle.manifest, int(time.time() * 1000)
        figures = [Metric(m.name, m.value, now, manifest.training.steps) for m in manifest.metrics]
        tags = {"genserve.bundle": f"{manifest.name}@{manifest.version}", "genserve.digest": bundle.digest}
        client = self._connected()
        client.log_batch(self._id, metrics=figures, tags=[RunTag(key, value) for key, value in tags.items()])
        for name in (MANIFEST, manifest.preview.path):
            client.log_artifact(self._id, str(bundle.path / name))

    def end(self, ending: Ending) -> None:
        try:
            self._send()
        finally:
            self._connected().set_terminated(self._id, _STATUS[ending])

    def _connected(self) -> "MlflowClient":
        if self._client is None:
            self.begin()
        assert self._client is not None
        return self._client

    def _goes_on(self, client: "MlflowClient") -> bool:
        """Whether an earlier session of this run is known there; it is marked as running again."""
        path = self.about.folder / RUN_FILE
        found = json.loads(path.read_text()) if self.about.step > 0 and path.exists() else {}
        if found.get("tracking_uri") != self.uri:
            return False
        self._last_step = max((m.step for m in client.get_metric_history(found["run_id"], "epoch")), default=0)
        client.update_run(found["run_id"], status="RUNNING")
        self._id = found["run_id"]
        return True

    def _create(self, client: "MlflowClient") -> None:
        name = os.environ.get(EXPERIMENT, "genserve")
        experiment = client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else client.create_experiment(name)
        self._id = client.create_run(number, run_name=self.about.recipe["name"]).info.run_id
        (self.about.folder / RUN_FILE).write_text(json.dumps({"tracking_uri": self.uri, "run_id": self._id}) + "\n")

    def _describe(self, client: "MlflowClient") -> None:
        from mlflow.entities import Param, RunTag

        recipe = self.about.recipe
        tags = {
            "genserve.run": self.about.name,
            "genserve.family": recipe["family"],
            "genserve.data": recipe["data"]["name"],
            "genserve.device": self.about.device,
            "mlflow.source.name": "genserve",
            "mlflow.source.git.commit": code_revision(),
        }
        client.log_batch(self._id, tags=[RunTag(key, value) for key, value in tags.items()])
        if self._last_step:
            return  # a parameter is said once, and a run may go on with another length
        parameters = [Param(key, str(value)[:_LONGEST_PARAMETER]) for key, value in flat(recipe).items()]
        for start in range(0, len(parameters), _PARAMETERS):
            client.log_batch(self._id, params=parameters[start : start + _PARAMETERS])

    def _send(self) -> None:
        from mlflow.entities import Metric

        self._tried = time.monotonic()
        client = self._connected()
        found = []
        for s, at in self._unsent:
            if s.step > self._last_step:  # the server has the others from an earlier session
                values = s.losses | {"epoch": s.epoch, "images_per_second": s.images_per_second}
                found += [Metric(key, value, at, s.step) for key, value in values.items()]
        for start in range(0, len(found), _METRICS):
            client.log_batch(self._id, metrics=found[start : start + _METRICS])
        self._unsent.clear()
