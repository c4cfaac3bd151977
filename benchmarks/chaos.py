"""`python -m benchmarks chaos`: jobs run while everything that has a part in them is killed; nothing may be lost."""

import argparse
import random
import shutil
import time
from pathlib import Path
from typing import Any

from benchmarks.chaos_plan import KINDS
from benchmarks.chaos_processes import left_over, reap
from benchmarks.chaos_run import Run
from benchmarks.chaos_scene import Scene, scene
from benchmarks.chaos_verdict import Evidence, Version, findings
from benchmarks.compare_command import PAGE
from benchmarks.errors import BenchmarkError
from benchmarks.machine import before, conditions
from benchmarks.page import table, write
from benchmarks.processes import adopt_orphans
from benchmarks.running import Workspace
from bundle.errors import BundleError
from bundle.store import Store

_TICK_S = 0.1
_LEFT_S = 10.0


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
    begun = before()
    seed = random.SystemRandom().randrange(10**6) if options.seed is None else options.seed
    folder = workspace.root.absolute()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    with scene(folder) as (made, installation):
        run = Run(made, installation, seed, 60 * options.minutes, options.jobs)
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
    about = (
        f"{conditions(begun)} Seed {seed}: {options.jobs} jobs, {options.minutes:g} minutes of killing; "
        f"the last job ended {run.after_s:.0f} s later.\n"
    )
    lines = [
        about,
        table([("what was done", "times"), *((kind, str(made.struck[kind])) for kind in KINDS)]),
        table([("what came of it", "number"), *run.figures(stories)], text_columns=2),
        table([("what has to be true", "looked at", "is"), *(one.row for one in found)], text_columns=3),
    ]
    text = "\n".join(lines)
    (folder / "report.md").write_text(text)
    print(text, end="")
    if options.write:
        write(PAGE, "chaos", text)
    return 1 if any(one.against for one in found) else 0


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
