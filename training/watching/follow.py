"""A job in the terminal, from the events of the ledger: wherever it runs, however often the watching begins anew."""

import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.live import Live

from jobs.errors import DatabaseError
from jobs.ledger import Ledger
from jobs.model import FINAL, Event, Job, Result
from training.watching.sink import Snapshot
from training.watching.view import RunView

_PAGE = 500
_PAUSE_S = 0.5
_PAUSE_AWAY_S = 2.0
_LINE_EVERY_S = 10.0


class JobView:
    """The view of a job; takes events, in order."""

    def __init__(self, job: Job) -> None:
        self.view = RunView(f"{job.name} · {job.family}", job.state, {"job": job.id})
        self.seen = 0
        self.pictures = 0

    def take(self, event: Event) -> str | None:
        """Take an event in.

        Returns:
            A line for people who read lines; None where the event changes nothing that they would miss.
        """
        self.seen = event.id
        take: Callable[[dict[str, Any]], str | None] | None = getattr(self, f"_{event.kind}", None)
        return take(event.data) if take else None

    def _state(self, data: dict[str, Any]) -> str:
        self.view.state = data["state"]
        attempt = f", attempt {data['attempt']}" if data.get("attempt", 1) > 1 else ""
        worker = f" on {data['worker']}" if data.get("worker") else ""
        failure = data.get("failure")
        reason = f": {failure['message']} ({failure['code']})" if failure else ""
        return self._note(f"{data['state']}{worker}{attempt}{reason}")

    def _progress(self, data: dict[str, Any]) -> None:
        losses = {name: value for name, value in data["losses"].items() if value is not None}
        self.view.take(Snapshot(**{**data, "losses": losses}))

    def _log(self, data: dict[str, Any]) -> str:
        return self._note(str(data.get("message", "")))

    def _picture(self, data: dict[str, Any]) -> None:
        self.pictures += 1
        epoch = f" at epoch {data['epoch']:.1f}" if "epoch" in data else ""
        where = f"/training/jobs/{self.view.facts['job']}/pictures/{self.seen}"
        self.view.facts["pictures"] = f"{self.pictures}, the latest{epoch}: {where}"

    def _result(self, data: dict[str, Any]) -> str:
        result = Result.model_validate(data)
        bundle = f"{result.name}@{result.version}"
        self.view.facts["bundle"] = f"{bundle}, {'promoted' if result.promoted else 'not promoted'}: {result.reason}"
        figures = {name: value for name, value in result.metrics.items() if not name.endswith("_floor")}
        self.view.facts["figures"] = ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
        return f"published {self.view.facts['bundle']}"

    def _note(self, text: str) -> str:
        self.view.notes.append(text)
        return text


def follow(ledger: Ledger, job: Job, console: Console) -> bool:
    """Show a job until it is over.

    A database that goes away in between is waited for.

    Args:
        ledger: Where the job is.
        job: As `find_job` gave it.
        console: A terminal, or anything else, which gets plain lines.

    Returns:
        Whether it succeeded.
    """
    shown = JobView(job)
    live = console.is_terminal and not console.is_dumb_terminal
    with Live(shown.view, console=console, auto_refresh=False) if live else _Lines(console, shown.view) as screen:
        while True:
            try:
                lines = _news(ledger, shown)
                job = ledger.get(job.id)
                _catch_up(job, shown.view)
                _say_where(ledger, job, shown.view)
            except DatabaseError as error:
                shown.view.state = "database away"
                screen.refresh()
                shown.view.notes.append(str(error))
                time.sleep(_PAUSE_AWAY_S)
                continue
            if isinstance(screen, _Lines):
                screen.say(lines)
            over = job.state in FINAL and job.state == shown.view.state
            screen.refresh()
            if over:
                return job.state == "succeeded"
            time.sleep(_PAUSE_S)


class _Lines:
    """What `Live` is, for what is no terminal."""

    def __init__(self, console: Console, view: RunView) -> None:
        self._console, self._view = console, view
        self._next = 0.0
        self._step = -1

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def say(self, lines: list[str]) -> None:
        for line in lines:
            self._print(line)

    def refresh(self) -> None:
        now, latest = time.monotonic(), self._view.latest
        if latest is not None and latest.step != self._step and (now >= self._next or latest.step == latest.steps):
            self._next, self._step = now + _LINE_EVERY_S, latest.step
            self._print(self._view.line())

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, markup=False, highlight=False)


def _news(ledger: Ledger, shown: JobView) -> list[str]:
    lines = []
    while events := ledger.events(shown.view.facts["job"], shown.seen, _PAGE):
        lines += [line for event in events if (line := shown.take(event))]
        if len(events) < _PAGE:
            break
    return lines


def _catch_up(job: Job, view: RunView) -> None:
    """The job's row is newer than its events, of which there is one a second at most."""
    if job.progress and (view.latest is None or job.progress.step > view.latest.step):
        view.take(Snapshot(**job.progress.model_dump()))


def _say_where(ledger: Ledger, job: Job, view: RunView) -> None:
    view.state = job.state if view.state == "database away" else view.state
    if job.worker is None or job.worker in view.facts.get("on", ""):
        return
    found = next((worker for worker in ledger.workers() if worker.instance == job.worker), None)
    view.facts["on"] = f"{job.worker}, {found.device} of {found.host}" if found else job.worker
