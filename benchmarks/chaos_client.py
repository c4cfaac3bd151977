"""Clients of a service that comes and goes: they order, cancel, resume, watch, and try until they are answered."""

import io
import json
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from benchmarks.chaos_plan import Order
from benchmarks.errors import BenchmarkError

_ANSWER_S = 20.0  # beyond the 15 s after which a stream says that it is there
_RETRY_S = 0.5
_PATIENCE_S = 180.0
_SIDE, _IMAGES, _TESTED = 16, 8_000, 15  # with so few test images nothing is measured: it would take most of the time
_CANCELLED = "cancelled"


class Api:
    """The service's endpoints, for as long as it takes.

    Attributes:
        answers: How many of each status; 0 where there was none.
    """

    def __init__(self, base: str, ending: threading.Event) -> None:
        self.base = base
        self.ending = ending
        self.answers: Counter[int] = Counter()
        self._client = httpx.Client(base_url=base, timeout=_ANSWER_S)

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """The first answer that is none of 5xx.

        Raises:
            BenchmarkError: If there was none in three minutes, or when all was over.
        """
        last: object = None
        end = time.monotonic() + _PATIENCE_S
        while not self.ending.is_set() and time.monotonic() < end:
            try:
                answer = self._client.request(method, path, **options)
            except httpx.TransportError as error:
                self.answers[0] += 1
                last = error
            else:
                self.answers[answer.status_code] += 1
                if answer.status_code < 500:
                    return answer
                last = answer.text
            self.ending.wait(_RETRY_S)
        raise BenchmarkError(f"{method} {path} was not answered: {last}")

    def get(self, path: str) -> Any:
        """What a GET answers.

        Raises:
            BenchmarkError: If it is not 200.
        """
        answer = self.ask("GET", path)
        if answer.status_code != 200:
            raise BenchmarkError(f"GET {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def upload(self) -> str:
        """Send a data set of soft blobs; returns what an order calls it."""
        answer = self.ask("POST", "/training/data", content=blobs(), headers={"content-type": "application/x-npz"})
        if answer.status_code != 201:
            raise BenchmarkError(f"the data set was refused: {answer.status_code} {answer.text[:300]}")
        return str(answer.json()["data"])


@dataclass
class Watched:
    """What the watcher of a job was told.

    Attributes:
        events: Each with `id`, `kind` and `data`, in the order in which they came.
        connections: How often it got a stream.
        faults: Answers that should not have been.
    """

    events: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    faults: list[str] = field(default_factory=list)


class Watcher(threading.Thread):
    """Follows the events of a job with `Last-Event-ID`, until it is told that no more will come."""

    def __init__(self, api: Api, job: str) -> None:
        super().__init__(name=f"watch {job}", daemon=True)
        self.watched = Watched()
        self.enough = threading.Event()
        self._api = api
        self._job = job

    def run(self) -> None:
        """Watch."""
        with httpx.Client(base_url=self._api.base, timeout=_ANSWER_S) as client:
            while not self._api.ending.is_set():
                try:
                    complete = self._follow(client)
                except (httpx.TransportError, httpx.StreamError):
                    complete = False
                if complete and self.enough.is_set():
                    return
                self._api.ending.wait(_RETRY_S)

    def _follow(self, client: httpx.Client) -> bool:
        """One connection; returns whether there was nothing more to come."""
        seen = self.watched.events
        headers = {"last-event-id": str(seen[-1]["id"])} if seen else {}
        with client.stream("GET", f"/training/jobs/{self._job}/events", headers=headers) as answer:
            if answer.status_code == 200:
                self.watched.connections += 1
                self._read(answer)
            elif 200 < answer.status_code < 500 and answer.status_code != 204:
                answer.read()
                self.watched.faults.append(f"{answer.status_code} after event {headers}: {answer.text[:200]}")
            return answer.status_code == 204

    def _read(self, answer: httpx.Response) -> None:
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            if not line and "id" in fields:  # only a whole event counts
                event = {"id": int(fields["id"]), "kind": fields["event"], "data": json.loads(fields["data"])}
                self.watched.events.append(event)
            if not line:
                fields = {}
            elif not line.startswith(":"):
                key, _, value = line.partition(": ")
                fields[key] = value


class Customer(threading.Thread):
    """Places one order, and cancels and resumes it as it says.

    Attributes:
        jobs: Ids that the order was answered with, each time that it was sent.
        watcher: Of its job, once it is there.
        over: It has done all it had to.
        fault: Why it could not.
    """

    def __init__(self, api: Api, order: Order, data: str) -> None:
        super().__init__(name=order.name, daemon=True)
        self.order = order
        self.jobs: list[str] = []
        self.watcher: Watcher | None = None
        self.over = threading.Event()
        self.fault: str | None = None
        self._api = api
        self._data = data
        self._start = time.monotonic()

    def run(self) -> None:
        """Order, watch, cancel, resume."""
        try:
            self._until(self.order.at)
            self._order()
            if self.order.cancel_s is not None:
                self._until(self.order.at + self.order.cancel_s)
                self._cancel()
            if self.order.resume_s is not None:
                self._api.ending.wait(self.order.resume_s)
                self._resume()
        except BenchmarkError as error:
            self.fault = f"{self.order.name}: {error}"
        finally:
            self.over.set()

    def _until(self, at: float) -> None:
        self._api.ending.wait(max(0.0, self._start + at - time.monotonic()))

    def _order(self) -> None:
        """Order twice with one key, as somebody does whose answer was lost."""
        key = {"idempotency-key": str(uuid.uuid4())}
        body = {"recipe": recipe(self.order), "data": self._data}
        for _ in range(2):
            answer = self._api.ask("POST", "/training/jobs", json=body, headers=key)
            if answer.status_code != 202:
                raise BenchmarkError(f"the order was answered by {answer.status_code} {answer.text[:300]}")
            self.jobs.append(str(answer.json()["id"]))
            if self.watcher is None:
                self.watcher = Watcher(self._api, self.jobs[0])
                self.watcher.start()

    def _cancel(self) -> None:
        """A cancellation whose answer was lost is answered by 409 when it is sent again."""
        self._api.ask("DELETE", f"/training/jobs/{self.jobs[0]}")
        while (state := self._api.get(f"/training/jobs/{self.jobs[0]}")["state"]) == "cancelling":
            self._api.ending.wait(_RETRY_S)
        if state != _CANCELLED:
            raise BenchmarkError(f"it was to be cancelled and is {state}")

    def _resume(self) -> None:
        answer = self._api.ask("POST", f"/training/jobs/{self.jobs[0]}/resume")
        state = str(self._api.get(f"/training/jobs/{self.jobs[0]}")["state"])
        if answer.status_code != 202 and state == _CANCELLED:
            raise BenchmarkError(f"it was to be resumed: {answer.status_code} {answer.text[:300]}")


def recipe(order: Order) -> dict[str, Any]:
    """A small VAE; its data are named beside it."""
    return {
        "name": order.name,
        "family": "vae",
        "seed": 3,
        "data": {"name": "mnist"},
        "model": {"network": "mlp", "hidden": [32], "latent_dim": 4},
        "train": {"batch_size": 32, "rounds": order.rounds, "ema": 0.9, "picture_epochs": 5.0},
    }


def blobs() -> bytes:
    """An `.npz` of images (n, 16, 16) of a soft blob each, the same every time."""
    draw = np.random.default_rng(0)
    n = _IMAGES + _TESTED
    x, y, width = draw.uniform(4, 12, (n, 1, 1)), draw.uniform(4, 12, (n, 1, 1)), draw.uniform(1.5, 4, (n, 1, 1))
    rows, columns = np.arange(_SIDE)[None, :, None], np.arange(_SIDE)[None, None, :]
    images = (255 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * width**2))).astype(np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, x_train=images[:_IMAGES], x_test=images[_IMAGES:])
    return buffer.getvalue()
