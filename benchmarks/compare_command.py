"""`python -m benchmarks compare` and `report`: measure all subjects in one run, and show what was found."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.chart import chart
from benchmarks.compare import Plan, compare
from benchmarks.contenders import CONTENDERS
from benchmarks.machine import before, conditions, peers
from benchmarks.models import LARGE, SMALL, prepare
from benchmarks.page import markdown, write
from benchmarks.processes import adopt_orphans
from benchmarks.results import Results, load, save
from benchmarks.running import Workspace
from benchmarks.summary import Summary
from benchmarks.wrk import require_wrk
from bundle.store import Store

PAGE = Path(__file__).with_name("README.md")
PICTURE = Path(__file__).with_name("results.svg")
_FORMATS = {"raw": False, "png": True}


def add(commands: Any, shared: argparse.ArgumentParser) -> None:
    """Add both commands to the program's."""
    measure = commands.add_parser("compare", parents=[shared], help="all servers in one run")
    _choice(measure, "subjects", list(CONTENDERS), list(CONTENDERS))
    measure.add_argument("--models", nargs="+", default=[SMALL, LARGE], help="(%(default)s)")
    measure.add_argument("--images", type=int, nargs="+", default=[1, 16], help="a request (%(default)s)")
    measure.add_argument("--connections", type=int, nargs="+", default=[1, 32, 128], help="(%(default)s)")
    _choice(measure, "formats", list(_FORMATS), list(_FORMATS))
    measure.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    measure.add_argument("--seconds", type=int, default=2, help="of each cell in each round (%(default)s)")
    measure.add_argument("--write", action="store_true", help="put the results into benchmarks/README.md")
    measure.set_defaults(run=_compare)
    report = commands.add_parser("report", parents=[shared], help="the last comparison once more")
    report.add_argument("--write", action="store_true", help="put the results into benchmarks/README.md")
    report.set_defaults(run=_report)


def _choice(parser: argparse.ArgumentParser, name: str, choices: Sequence[str], default: Sequence[str]) -> None:
    parser.add_argument(
        f"--{name}",
        nargs="+",
        choices=choices,
        default=default,
        metavar=name[:-1].upper(),
        help=f"of {', '.join(choices)}; left out: all",
    )


def _compare(options: argparse.Namespace, workspace: Workspace) -> int:
    require_wrk()
    adopt_orphans()
    begun = before()
    plan = Plan(
        models=[prepare(name, Store(options.store), Store(workspace.store)) for name in options.models],
        contenders=[contender for key, contender in CONTENDERS.items() if key in options.subjects],
        images=options.images,
        connections=options.connections,
        formats=[_FORMATS[name] for name in options.formats],
        rounds=options.rounds,
        seconds=options.seconds,
    )
    measurements = compare(plan, workspace)
    versions = f"Load and peers: {peers(options.subjects)}."
    protocol = f"Rounds: {plan.rounds}, at least {plan.seconds} s for each cell in each."
    save(Results(f"{conditions(begun)} {versions} {protocol}", measurements), workspace.results)
    return _report(options, workspace)


def _report(options: argparse.Namespace, workspace: Workspace) -> int:
    results = load(workspace.results)
    text = markdown(results)
    picture = chart(Summary(results.measurements))
    print(text, end="")
    (workspace.root / PICTURE.name).write_text(picture, encoding="utf-8")
    if options.write:
        write(PAGE, "results", text)
        shutil.copyfile(workspace.root / PICTURE.name, PICTURE)
    return 0
