"""The command: read the settings, measure, say what was found, write it down."""

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from bundle.errors import BundleError
from bundle.manifest import GraphName
from bundle.store import Bundle, Store
from service.cores import usable_cores
from service.engine.backends import open_backend
from service.engine.runtimes.base import RuntimeLoadError
from service.errors import GraphMissingError, StartupError
from service.settings import Settings, why_invalid
from service.tuning.contenders import MeasurementError, open_contenders
from service.tuning.file import SettingsFileError, check_writable, edit, overridden, tuned_for_others, with_setup
from service.tuning.measure import ROUNDS, Point, measure
from service.tuning.proposal import propose
from service.tuning.report import MODEL_OF_P99, plots, table, verdict
from service.tuning.shapes import LARGEST, MOST_IMAGES, Setup, batches, present_setup, shapes

_WRONG, _STOPPED = 2, 130
_VARIABLE = "GENSERVE_SETTINGS"
_MENDABLE = (StartupError, GraphMissingError, BundleError, RuntimeLoadError, MeasurementError, SettingsFileError)


def main(arguments: Sequence[str]) -> int:
    """Run `tune`; returns the exit code: 0, 2 on what the user can mend, 130 when stopped.

    Args:
        arguments: What follows `tune` on the command line.
    """
    options = _parser().parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal without the plot's characters still shows the table
    file = _file(options)
    try:
        settings = _settings(file if options.write else None)
    except (ValidationError, OSError, ValueError) as error:
        return _complain(f"settings: {why_invalid(error)}")
    try:
        _tune(options, settings, file)
    except (*_MENDABLE, OSError) as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        print("genserve: stopped; nothing was written", file=sys.stderr)
        return _STOPPED
    return 0


def _tune(options: argparse.Namespace, settings: Settings, file: Path | None) -> None:
    if file is not None and not options.dry_run:
        check_writable(file)
    bundle = _bundle(settings, options.model)
    name = bundle.manifest.name
    graph = _graph(bundle, options.graph)
    now, points = _measure(options, settings, bundle, graph)
    target_s = options.p99_ms / 1000
    proposal = propose(points, target_s)
    chosen = proposal.point.setup
    parts = (table(points, now, chosen), [MODEL_OF_P99], plots(points, chosen, target_s))
    print(*("\n".join(part) for part in (*parts, verdict(proposal, points, now, target_s))), sep="\n\n")
    print()
    if file is None:
        print(f"{with_setup('', name, chosen)}\nnothing is written: name the file, with --write PATH or {_VARIABLE}")
    else:
        _write(name, chosen, file, options.dry_run)
    for variable in overridden(os.environ, name):
        print(f"note: {variable} is set, and wins over the file")


def _measure(
    options: argparse.Namespace, settings: Settings, bundle: Bundle, graph: GraphName
) -> tuple[Setup, list[Point]]:
    spec = bundle.manifest.graphs[graph]
    device = open_backend(settings).device
    cores = usable_cores()
    now = present_setup(settings, bundle.manifest.name, device, spec.latency, spec.file.bytes)
    wanted = {now.shape} if options.keep_lanes else {now.shape, *shapes(settings, device, cores)}
    sizes = batches(options.largest or LARGEST[device.kind], now.batch)
    with open_contenders(bundle, graph, settings, sorted(wanted), sizes) as contenders:
        provider = contenders[0].runtime.provider
        of = f", lanes are those of each of {now.shape.workers} processes" if now.shape.workers > 1 else ""
        print(f"{bundle.manifest.name}@{bundle.manifest.version}, {graph}, on {provider}, {cores} cores{of}; ", end="")
        print(f"about {options.seconds:g} s in {ROUNDS} interleaved rounds\n", flush=True)
        points = measure(contenders, options.seconds, progress=lambda number: _progress(f"round {number} of {ROUNDS}"))
        _progress("")
    of_now = next(contender for contender in contenders if contender.shape == now.shape)
    return (replace(now, batch=of_now.rows(now.batch)) if now.batch <= sizes[-1] else now), points


def _write(model: str, chosen: Setup, file: Path, dry_run: bool) -> None:
    change = edit(file, model, chosen)
    print("\n".join(change.diff()) or f"{file} says so already")
    if not dry_run:
        change.write()
    print(f"\n{file} {'is left as it is' if dry_run else 'is written'}; a service that runs takes it up when restarted")
    for other, (lanes, threads) in tuned_for_others(change.before, model, chosen).items():
        print(
            f"note: [models.{other}] was tuned for lanes = {lanes}, threads = {threads}, which are the same for all "
            "models: tune it again with --keep-lanes"
        )


def _file(options: argparse.Namespace) -> Path | None:
    named = options.write or os.environ.get(_VARIABLE)
    return Path(named) if named else None


def _settings(file: Path | None) -> Settings:
    """As the service would have them with this file; without one, as they are."""
    with _variable(str(file)) if file is not None and file.is_file() else contextlib.nullcontext():
        return Settings()


@contextlib.contextmanager
def _variable(value: str) -> Iterator[None]:
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[_VARIABLE]
        else:
            os.environ[_VARIABLE] = before


def _bundle(settings: Settings, ref: str) -> Bundle:
    if not settings.store.is_dir():
        raise StartupError(f"store {str(settings.store)!r} is no folder; set `store` to the folder of the bundles")
    bundle = Store(settings.store).open(ref)
    bundle.verify()
    return bundle


def _graph(bundle: Bundle, wanted: str) -> GraphName:
    graphs = bundle.manifest.graphs
    found = next((name for name in graphs if name == wanted), None)
    if found is None:
        raise GraphMissingError(f"model {bundle.manifest.name!r} has no graph {wanted!r}; it has: {', '.join(graphs)}")
    return found


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)  # over what was said before


def _complain(message: str) -> int:
    print(f"genserve: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return _WRONG


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a number above 0")
    return value


def _batch(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= MOST_IMAGES:
        raise argparse.ArgumentTypeError(f"got {text!r}; expected a number from 1 to {MOST_IMAGES}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m service tune",
        description="Measure a model on this machine, propose lanes, threads and max_batch_size, and write them into "
        "the settings file.",
        epilog=f"Store, device, runtime and workers are those of the settings. docs/tuning.md explains the figures. "
        f"Without --write, the file is the one that {_VARIABLE} names.",
        allow_abbrev=False,
    )
    parser.add_argument("model", metavar="MODEL", help="NAME, NAME@3 or NAME@alias, of the store that is set")
    parser.add_argument("--graph", default="decode", help="what to run (decode)")
    parser.add_argument(
        "--p99-ms", type=_positive, default=50.0, metavar="MS", help="predicted 99th percentile to meet, in ms (50)"
    )
    parser.add_argument("--seconds", type=_positive, default=20.0, metavar="S", help="of measuring, in all (20)")
    parser.add_argument("--largest", type=_batch, metavar="N", help="largest batch (64, on a GPU 256)")
    parser.add_argument("--keep-lanes", action="store_true", help="measure only the lanes and threads that are set")
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--write", metavar="PATH", type=Path, help="the settings file to read, if it is there, and write"
    )
    where.add_argument("--dry-run", action="store_true", help="show what would change, write nothing")
    return parser
