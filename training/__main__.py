"""`python -m training`: train, infer, export, evaluate, list, results, watch, runs, alias, worker."""

import argparse
import logging
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.logging import RichHandler
from rich.table import Table as RichTable

from bundle.errors import BundleError
from bundle.manifest import Metric
from bundle.store import Store
from jobs.errors import JobError
from training.alias_command import add_options as add_alias_options
from training.errors import TrainingError
from training.recipe import parse_overrides, read_recipe
from training.results import results_page
from training.worker.command import add_options as add_worker_options

STOPPED = 130  # what a shell reports for a program ended by Ctrl-C
INFERENCE_RECIPE = Path("configs/inference.toml")


def main(arguments: list[str] | None = None) -> int:
    """Run a command; 0 on success, 1 on an error that the user can mend, 130 when stopped."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_handler()])
    logging.getLogger("training").setLevel(logging.INFO)
    command: Callable[[argparse.Namespace], int] = options.command
    try:
        return command(options)
    except (TrainingError, BundleError, JobError) as error:
        Console(stderr=True, soft_wrap=True).print(f"{type(error).__name__}: {error}", style="red", markup=False)
        return 1


def _train(options: argparse.Namespace) -> int:
    from training.run import train  # torch takes seconds to import; `--help` and errors need not wait

    recipe = read_recipe(options.recipe, options.set)
    bundle = train(recipe, options.runs, Store(options.store), _stop_on_signal(), options.restart)
    return 0 if bundle else STOPPED


def _infer(options: argparse.Namespace) -> int:
    from training.run import infer, inference_recipe

    store = Store(options.store)
    recipe = inference_recipe(read_recipe(options.recipe, options.set), store.open(options.name))
    bundle = infer(options.name, recipe, options.runs, store, _stop_on_signal(), options.restart)
    return 0 if bundle else STOPPED


def _export(options: argparse.Namespace) -> int:
    from training.bundles import export_again

    made = export_again(Store(options.store), options.name)
    table = RichTable("file", "bytes", "pixels that differ from onnxruntime's")
    for name, file in made.files.items():
        share = made.pixel_difference.get(name)
        table.add_row(name, f"{file.bytes:,}", "" if share is None else f"{share:.2e}")
    for name, reason in made.unavailable.items():
        table.add_row(name, "unavailable", reason)
    Console().print(table)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from training.bundles import evaluate_again

    overrides = parse_overrides(options.set)
    _print_metrics(evaluate_again(Store(options.store), options.name, options.runs, overrides))
    return 0


def _list(options: argparse.Namespace) -> int:
    listing = Store(options.store).listing()
    table = RichTable("model", "family", "graphs", "image", "trained on", "steps")
    for bundle in listing.bundles:
        m = bundle.manifest
        image = f"{m.image.width}x{m.image.height}x{m.image.channels}"
        table.add_row(
            f"{m.name}@{m.version}", m.family, " ".join(m.graphs), image, m.data.name, f"{m.training.steps:,}"
        )
    Console().print(table)
    for ref, error in listing.problems.items():
        Console(stderr=True, soft_wrap=True).print(f"{ref}: {error}", style="red", markup=False)
    return 1 if listing.problems else 0


def _results(options: argparse.Namespace) -> int:
    print(results_page(Store(options.store)), end="")
    return 0


def _watch(options: argparse.Namespace) -> int:
    from training.watching.follow import follow
    from training.watching.ledger import find_job, open_ledger
    from training.watching.live_jobs import live_jobs

    ledger = open_ledger(options.database)
    console = Console()
    if ledger is None:
        console.print("no jobs yet: this database is not there", soft_wrap=True)
        return 0 if options.job is None else 1
    if options.job is None:
        console.print(live_jobs(ledger))
        return 0
    job = find_job(ledger, options.job)
    try:
        return 0 if follow(ledger, job, console) else 1
    except KeyboardInterrupt:
        console.print(f"the job goes on; see it again: python -m training watch {job.id}", soft_wrap=True)
        return STOPPED


def _runs(options: argparse.Namespace) -> int:
    from training.runs import find_runs, select
    from training.runs_table import runs_json, runs_tables
    from training.watching.ledger import open_ledger

    runs = select(find_runs(Store(options.store), options.runs, open_ledger(options.database)), options.name)
    if options.json:
        print(runs_json(runs))
    else:
        columns = [name for names in options.figures for name in names.split(",")]
        console = Console()
        console.print(runs_tables(runs, options.sort, columns, options.reverse, options.whole, console.width))
    return 0


def _print_metrics(metrics: list[Metric]) -> None:
    table = RichTable("metric", "value", "unit", "split", "protocol")
    for m in metrics:
        error = "" if m.error is None else f" ± {m.error:.2g}"
        table.add_row(m.name, f"{m.value:.4g}{error}", m.unit, m.split, m.protocol)
    Console().print(table)


def _stop_on_signal() -> Callable[[], bool]:
    """A question that is answered with yes once the user, or the system, asks the program to end."""
    asked: list[int] = []

    def ask(number: int, _: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt  # asked twice: do not wait for the round
        asked.append(number)

    signal.signal(signal.SIGINT, ask)
    signal.signal(signal.SIGTERM, ask)
    return lambda: bool(asked)


def _handler() -> logging.Handler:
    return RichHandler(console=Console(stderr=True), show_path=False, log_time_format="[%X]")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m training", description="Train generative models and publish bundles.")
    parser.add_argument("--store", type=Path, default=Path("models"), help="folder of the bundles (models/)")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of checkpoints and logs (runs/)")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    train = commands.add_parser("train", help="train a recipe to its end and publish the bundle")
    train.add_argument("recipe", type=Path, help="a TOML file, such as configs/fashion-vae.toml")
    _run_options(train, _train)

    infer = commands.add_parser("infer", help="train an encoder for a published generator; publish both")
    infer.add_argument("name", help="the generator's bundle: NAME, NAME@3 or NAME@alias")
    infer.add_argument("--recipe", type=Path, default=INFERENCE_RECIPE, help=f"its recipe ({INFERENCE_RECIPE})")
    _run_options(infer, _infer)

    export = commands.add_parser("export", help="make a bundle's TorchScript and torch.export files again")
    export.add_argument("name", help="NAME, NAME@3 or NAME@alias")
    export.set_defaults(command=_export)

    evaluate = commands.add_parser("evaluate", help="measure a bundle")
    evaluate.add_argument("name", help="NAME, NAME@3 or NAME@alias")
    evaluate.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="such as iwae_samples=500")
    evaluate.set_defaults(command=_evaluate)

    commands.add_parser("list", help="the bundles of the store").set_defaults(command=_list)
    commands.add_parser("results", help="figures of all bundles, as Markdown").set_defaults(command=_results)

    watch = commands.add_parser("watch", help="see a job live, or the jobs that wait or run")
    watch.add_argument("job", nargs="?", help="id of a job, its beginning or end, or the model's name")
    _database_option(watch)
    watch.set_defaults(command=_watch)

    runs = commands.add_parser("runs", help="compare bundles, run folders and jobs by their figures")
    runs.add_argument("name", nargs="*", help="only runs whose name begins so")
    runs.add_argument("--sort", metavar="FIGURE", help="best first, by this figure (frechet_distance)")
    runs.add_argument("--reverse", action="store_true", help="worst first")
    runs.add_argument("--figures", action="append", default=[], metavar="A,B", help="figures to show")
    runs.add_argument("--whole", action="store_true", help="all that differs between the recipes")
    runs.add_argument("--json", action="store_true", help="everything, as JSON")
    _database_option(runs)
    runs.set_defaults(command=_runs)

    alias = commands.add_parser("alias", help="show, set, remove or roll back an alias of a model, such as production")
    add_alias_options(alias)
    _database_option(alias)

    add_worker_options(commands.add_parser("worker", help="take training jobs from the queue, one at a time"))
    return parser


def _database_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--database", metavar="URL", help="of the jobs (GENSERVE_DATABASE, sqlite:///runs/jobs.sqlite)")


def _run_options(parser: argparse.ArgumentParser, command: Callable[[argparse.Namespace], int]) -> None:
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="change the recipe")
    parser.add_argument("--restart", action="store_true", help="forget an earlier run of that name")
    parser.set_defaults(command=command)


if __name__ == "__main__":
    sys.exit(main())
