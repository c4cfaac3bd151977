"""`python -m benchmarks chaos`: jobs run while everything that has a part in them is killed; nothing may be lost."""

import argparse
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from benchmarks.chaos_client import Api, Customer
from benchmarks.chaos_database import Installation
from benchmarks.chaos_plan import KINDS, blows, orders
from benchmarks.chaos_processes import left_over, reap
from benchmarks.chaos_scene import Scene, scene
from benchmarks.chaos_verdict import Evidence, Story, Version, fences, findings
from benchmarks.compare_command import PAGE
from benchmarks.errors import BenchmarkError
from benchmarks.machine import conditions, load_average
from benchmarks.page import table, write
from benchmarks.processes import adopt_orphans
from benchmarks.running import Workspace
from bundle.errors import BundleError
from bundle.store import Store

_TICK_S = 0.1
_START_S = 120.0
_END_S = 420.0  # for all jobs to end once everything is let alone; the queue alone may wait a minute
_LAST_EVENTS_S = 60.0
_LIVE = {"queued", "running", "cancelling"}
_LEFT_S = 10.0
_JOBS = "SELECT id, name, state, attempt, progress, result, failure, cancel_requested FROM genserve.jobs ORDER BY id"
_EVENTS = "SELECT job, id, kind, data FROM genserve.events ORDER BY job, id"
_QUEUE = "SELECT workflow_uuid, status FROM dbos.workflow_status WHERE status IN ('PENDING', 'ENQUEUED')"


def add(commands: Any, _: argparse.ArgumentParser) -> None:
    """Add the command to the program's."""
    parser = commands.add_parser("chaos", help="training jobs while workers, service and database are killed")
    parser.add_argument("--minutes", type=float, default=10.0, help="of killing (%(default)s)")
    parser.add_argument("--jobs", type=int, default=10, help="at least two (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="of what happens when; drawn, and told, if left out")
    parser.add_argument("--workspace", type=Path, default=Path("build/chaos"), help="is emptied first (%(default)s)")
    parser.add_argument("--write", action="store_true", help="put the results into benchmarks/README.md")
    parser.set_defaults(run=_chaos)


def _chaos(options: argparse.Namespace, workspace: Workspace) -> int:
    if options.jobs < 2:
        raise BenchmarkError(f"--jobs is {options.jobs}; two are cancelled, so at least 2 are needed")
    adopt_orphans()
    busy = load_average()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    folder = workspace.root.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with scene(folder) as (made, installation):
        run = _Run(made, installation, seed, 60 * options.minutes, options.jobs)
        run.through()
        stories, queued = run.stories(), run.queued()
    evidence = Evidence(
        stories=stories,
        versions=versions(Store(made.store)),
        rows=len(run.rows),
        shared=sorted(made.folders.shared),
        faults=[*(fault for one in made.kept for fault in one.faults), *run.faults()],
        queued=queued,
        left=_left(made),
    )
    found = list(findings(evidence))
    lines = [
        f"{conditions(busy)} Seed {seed}: {options.jobs} jobs, {options.minutes:g} minutes of killing; "
        f"the last job ended {run.after_s:.0f} s later.\n",
        table([("what was done", "times"), *((kind, str(made.struck[kind])) for kind in KINDS)]),
        table([("what came of it", "number"), *run.figures(stories)]),
        table([("what has to be true", "looked at", "is"), *(one.row for one in found)]),
    ]
    text = "\n".join(lines)
    print(text, end="")
    if options.write:
        write(PAGE, "chaos", text)
    return 1 if any(one.against for one in found) else 0


class _Run:
    """From the first order to the last event."""

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
        try:
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
            self._wait(
                lambda: not any(watcher.is_alive() for watcher in watchers), _LAST_EVENTS_S, "watchers wait still"
            )
            self._wait(lambda: not self.queued(), _LAST_EVENTS_S, "the queue holds work still")
        finally:
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
        said = [customer.fault for customer in self._customers if customer.fault]
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
            print(f"{time.monotonic() - start:6.1f} s  {blow.kind}: {self._scene.strike(blow)}", flush=True)
        self._tend_until(start + self._seconds)

    def _tend_until(self, end: float) -> None:
        while time.monotonic() < end:
            self._scene.tend()
            time.sleep(_TICK_S)

    def _wait(self, condition: Any, seconds: float, otherwise: str) -> None:
        """Wait for something while everything is kept going; if it does not come, the judgement will say what it means."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                print(f"after {seconds:g} s: {otherwise}", flush=True)
                return
            self._tend_until(time.monotonic() + 1.0)

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


def versions(store: Store) -> list[Version]:
    """All versions in a store, verified."""
    listing = store.listing()
    found = [Version(ref, None, "", "", str(problem)) for ref, problem in listing.problems.items()]
    for bundle in listing.bundles:
        manifest = bundle.manifest
        try:
            bundle.verify()
            damage = None
        except BundleError as error:
            damage = str(error)
        ref = f"{manifest.name}@{manifest.version}"
        found.append(Version(ref, manifest.training.run, manifest.weights.sha256, bundle.digest, damage))
    return found


def _left(made: Scene) -> list[str]:
    """Processes that are left, once they had time to end."""
    end = time.monotonic() + _LEFT_S
    while (found := left_over()) and time.monotonic() < end:
        time.sleep(_TICK_S)
        reap(made.kept)
    return found
