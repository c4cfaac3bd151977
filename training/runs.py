"""Runs to compare: published bundles, run folders and jobs, each run once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bundle.recipes.metrics import LOWER
from bundle.store import Bundle, Store
from jobs.ledger import Ledger
from jobs.model import Job
from training.errors import TrainingError
from training.watching.recipes import data_of
from training.watching.run_file import read_run
from training.watching.scalars import SCALARS, read_scalars

_JOBS = "jobs"  # folder in `runs/` of the runs that a worker did
_LATEST = 10  # snapshots over which a loss is averaged: a single one is noise
_PAGE = 500


@dataclass(frozen=True)
class Run:
    """A run, wherever it was found.

    Attributes:
        label: What a person would call it: `NAME@VERSION`, the run folder, or the job's id.
        state: `published`, how the job or the folder's last session ended, or that it goes on.
        family, data: What, and from what.
        steps, seconds: Rounds played, and time in the loop.
        figures: Metrics of the evaluation, and the latest losses by `player.term`.
        protocols: How a metric was measured: only figures with the same protocol can be compared.
        recipe: Resolved; empty where it is not known.
    """

    label: str
    state: str
    family: str
    data: str
    steps: int
    seconds: float
    figures: dict[str, float]
    protocols: dict[str, str] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)


def find_runs(store: Store, runs: Path, ledger: Ledger | None) -> list[Run]:
    """All runs of a store, a folder of runs and a ledger; what is there twice (a job, its folder, its bundle) is one.

    Raises:
        DatabaseError: If the ledger's database cannot be reached.
    """
    bundles = store.listing().bundles
    jobs = {job.id: job for job in _all_jobs(ledger)} if ledger else {}
    found = [_of_bundle(bundle) for bundle in bundles]
    digests = {bundle.digest: i for i, bundle in enumerate(bundles)}
    found += [_of_job(job) for job in jobs.values() if job.result is None or job.result.digest not in digests]
    for folder in _folders(runs):
        run = _of_folder(folder, runs)
        known = digests.get(read_run(folder).get("bundle") or "", _namesake(run, bundles))
        if known is not None:
            found[known] = replace(found[known], figures={**run.figures, **found[known].figures})
        elif folder.name not in jobs:
            found.append(run)
    return found


def select(runs: Sequence[Run], wanted: Iterable[str]) -> list[Run]:
    """Runs whose label is, or starts with, one of the wanted words; all where none is given.

    Raises:
        TrainingError: If a word fits no run.
    """
    wanted = list(wanted)
    for word in wanted:
        if not any(run.label.startswith(word) for run in runs):
            raise TrainingError(f"no run {word!r}; there are: {', '.join(run.label for run in runs) or 'none'}")
    return [run for run in runs if not wanted or any(run.label.startswith(word) for word in wanted)]


def ranked(runs: Sequence[Run], figure: str, reverse: bool = False) -> list[Run]:
    """Runs by a figure, the best first; those without it last.

    Raises:
        TrainingError: If no run has it.
    """
    names = sorted({name for run in runs for name in run.figures})
    if runs and figure not in names:
        raise TrainingError(f"no run has the figure {figure!r}; there are: {', '.join(names) or 'none'}")
    lower = lower_is_better(figure) != reverse
    with_it = sorted(
        (run for run in runs if figure in run.figures), key=lambda run: run.figures[figure], reverse=not lower
    )
    return [*with_it, *(run for run in runs if figure not in run.figures)]


def lower_is_better(figure: str) -> bool:
    """Whether less is better: of losses and distances it is."""
    return figure in LOWER or figure.endswith(".loss")


def _of_bundle(bundle: Bundle) -> Run:
    m = bundle.manifest
    return Run(
        label=f"{m.name}@{m.version}",
        state="published",
        family=m.family,
        data=data_of(m.training.recipe),
        steps=m.training.steps,
        seconds=m.training.seconds,
        figures={metric.name: metric.value for metric in m.metrics},
        protocols={metric.name: metric.protocol for metric in m.metrics},
        recipe=m.training.recipe,
    )


def _of_job(job: Job) -> Run:
    p = job.progress
    state = f"{job.state}: {job.failure.code}" if job.failure else job.state
    figures = (p.losses if p else {}) | (job.result.metrics if job.result else {})
    seconds = p.seconds if p else 0.0
    label = f"{_JOBS}/{job.id}"
    return Run(label, state, job.family, data_of(job.recipe), p.step if p else 0, seconds, figures, recipe=job.recipe)


def _of_folder(folder: Path, runs: Path) -> Run:
    record, rows = read_run(folder), list(read_scalars(folder))
    recipe = record.get("recipe", {})
    step, seconds, _ = rows[-1] if rows else (0, 0.0, {})
    total = record.get("steps", 0)
    share = f" at {step / total:.0%}" if 0 < step < total else ""
    label = str(folder.relative_to(runs))
    state = f"{record.get('ending') or 'unfinished'}{share}" if record else "no run.json"
    return Run(
        label, state, recipe.get("family", "?"), data_of(recipe), step, seconds, _latest_losses(rows), recipe=recipe
    )


def _latest_losses(rows: list[tuple[int, float, dict[str, float]]]) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for _, _, losses in rows[-_LATEST:]:
        for name, value in losses.items():
            found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def _folders(runs: Path) -> list[Path]:
    return sorted(path.parent for pattern in ("*", f"{_JOBS}/*") for path in runs.glob(f"{pattern}/{SCALARS}"))


def _namesake(run: Run, bundles: Sequence[Bundle]) -> int | None:
    """The bundle of a folder from before `run.json`: of the same name and as many rounds."""
    if run.recipe:
        return None
    name = run.label.removesuffix("-inference")
    fitting = (i for i, b in enumerate(bundles) if b.manifest.name == name and b.manifest.training.steps == run.steps)
    return next(fitting, None)


def _all_jobs(ledger: Ledger) -> Iterable[Job]:
    before: str | None = None
    while page := ledger.list(limit=_PAGE, before=before):
        yield from page
        before = page[-1].id
