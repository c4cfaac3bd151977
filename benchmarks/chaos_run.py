"""A run of jobs in the middle of chaos, from the first order to the last event."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import httpx

from benchmarks.chaos_client import Api, Customer
from benchmarks.chaos_database import Installation
from benchmarks.chaos_plan import blows, orders
from benchmarks.chaos_scene import Scene
from benchmarks.chaos_verdict import Story, fences
from benchmarks.errors import BenchmarkError

_TICK_S = 0.1
_START_S = 120.0
_END_S = 420.0  # for all jobs to end once everything is let alone; the queue alone may wait a minute
_LAST_EVENTS_S = 60.0
_LIVE = {"queued", "running", "cancelling"}
_JOBS = "SELECT id, name, state, attempt, progress, result, failure, cancel_requested FROM genserve.jobs ORDER BY id"
_EVENTS = "SELECT job, id, kind, data FROM genserve.events ORDER BY job, id"
_QUEUE = "SELECT workflow_uuid, status FROM dbos.workflow_status WHERE status IN ('PENDING', 'ENQUEUED')"


class Run:
    """One run.

    Args:
        made: Everything, started.
        installation: Of the database, for psql.
        seed: Of what happens when.
        seconds: Of killing.
        jobs: How many are ordered.

    Attributes:
        after_s: Seconds from the last blow to the end of the last job.
        rows: All jobs, as psql shows them at the end.
    """

    def __init__(self, made: Scene, installation: Installation, seed: int, seconds: float, jobs: int) -> None:
        self.after_s = 0.0
        self.rows: list[dict[str, Any]] = []
        self._scene, self._installation, self._seed, self._seconds = made, installation, seed, seconds
        self._ending = threading.Event()
        self._api = Api(f"http://127.0.0.1:{made.port}", self._ending)
        self._orders = orders(seed, seconds, jobs)
        self._customers: list[Customer] = []

    def through(self) -> None:
        """Order, kill, wait for the end of all jobs, and for all who watch to know of it."""
        self._wait(self._answers, _START_S, "the service did not answer")
        data = self._api.upload()
        self._customers = [Customer(self._api, order, data) for order in self._orders]
        for customer in self._customers:
            customer.start()
        self._kill()
        self._scene.calm()
        calm = time.monotonic()
        self._wait(self._all_over, _END_S, "jobs are live still, though nothing was killed any more")
        self.after_s = time.monotonic() - calm
        watchers = [customer.watcher for customer in self._customers if customer.watcher is not None]
        for watcher in watchers:
            watcher.enough.set()
        self._wait(lambda: not any(watcher.is_alive() for watcher in watchers), _LAST_EVENTS_S, "watchers wait still")
        self._wait(lambda: not self.queued(), _LAST_EVENTS_S, "the queue holds work still")
        self.rows = self._installation.rows(_JOBS)
        events = self._installation.rows(_EVENTS)
        self._events = {row["id"]: [event for event in events if event["job"] == row["id"]] for row in self.rows}

    def stories(self) -> list[Story]:
        """Of each order, once all is over; nothing is asked after this."""
        told = [self._story(customer) for customer in self._customers if customer.jobs]
        self._ending.set()
        return told

    def queued(self) -> list[str]:
        """Workflows that are not over."""
        return [f"{row['workflow_uuid']} is {row['status']}" for row in self._installation.rows(_QUEUE)]

    def faults(self) -> list[str]:
        """What customers and watchers have to complain of."""
        said = [one.fault for one in self._customers if one.fault]
        said += [f"{one.order.name} waits for an answer still" for one in self._customers if not one.over.is_set()]
        watched = [(one.order.name, one.watcher.watched.faults) for one in self._customers if one.watcher is not None]
        return [*said, *(f"watching {name}: {fault}" for name, faults in watched for fault in faults)]

    def figures(self, stories: Sequence[Story]) -> list[tuple[str, str]]:
        """What happened, in numbers."""
        states = Counter(str(story.row["state"]) for story in stories)
        executions = sum(len(fences(story.written)) for story in stories)
        connections = sum(one.watcher.watched.connections for one in self._customers if one.watcher is not None)
        answers = self._api.answers
        unanswered = sum(count for status, count in answers.items() if status == 0 or status >= 500)
        starts = ", ".join(f"{one.name} {one.starts}" for one in self._scene.kept)
        folders = self._scene.folders
        return [
            ("jobs by their end", ", ".join(f"{count} {state}" for state, count in sorted(states.items()))),
            ("executions of them, each with its fence", f"{executions}"),
            ("starts", starts),
            (
                "requests answered; not answered, or by 5xx, and sent again",
                f"{answers.total() - unanswered}; {unanswered}",
            ),
            (
                "events told to watchers; connections they needed",
                f"{sum(len(one.told) for one in stories):,}; {connections}",
            ),
            (
                "looks at run folders; most processes in one, all but one waiting",
                f"{folders.samples:,}; {max(folders.most.values(), default=0)}",
            ),
        ]

    def _kill(self) -> None:
        start = time.monotonic()
        for blow in blows(self._seed, self._seconds):
            self._tend_until(start + blow.at)
            self._say(f"{time.monotonic() - start:6.1f} s  {blow.kind}: {self._scene.strike(blow)}")
        self._tend_until(start + self._seconds)

    def _tend_until(self, end: float) -> None:
        while time.monotonic() < end:
            self._scene.tend()
            time.sleep(_TICK_S)

    def _wait(self, condition: Callable[[], object], seconds: float, otherwise: str) -> None:
        """Wait while everything is kept going; if it does not come, the judgement says what that means."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                self._say(f"after {seconds:g} s: {otherwise}")
                return
            self._tend_until(time.monotonic() + 1.0)

    def _say(self, line: str) -> None:
        print(line, flush=True)
        with (self._scene.logs / "chaos.log").open("a") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime())} {line}\n")

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self._api.base}/training/jobs", timeout=5.0).status_code == 200
        except httpx.TransportError:
            return False

    def _all_over(self) -> bool:
        """Whether all orders were placed, cancelled and resumed, and no job is live any more."""
        if not all(customer.over.is_set() for customer in self._customers):
            return False
        try:
            rows = self._installation.rows(_JOBS)
        except BenchmarkError:
            return False
        return all(row["state"] not in _LIVE for row in rows)

    def _story(self, customer: Customer) -> Story:
        job = customer.jobs[0]
        row = next(row for row in self.rows if row["id"] == job)
        assert customer.watcher is not None
        return Story(
            order=customer.order,
            ids=customer.jobs,
            api=self._api.get(f"/training/jobs/{job}"),
            row=row,
            written=self._events[job],
            told=customer.watcher.watched.events,
            sampled=self._sampled(row["result"]) if row["state"] == "succeeded" else None,
        )

    def _sampled(self, result: dict[str, Any]) -> str | None:
        ref = f"{result['name']}@{result['version']}"
        answer = self._api.ask("POST", "/sample", json={"model": ref, "n": 4, "seed": 1})
        if answer.status_code != 200:
            return f"{ref}: {answer.status_code} {answer.text[:200]}"
        images = answer.json()["images"]
        return None if len(images) == 4 else f"{ref}: {len(images)} images instead of 4"
