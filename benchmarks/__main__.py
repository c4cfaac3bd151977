"""`python -m benchmarks`: compare servers, overload ours, load it for long while clients leave, or kill it."""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import chaos, compare_command, overload, soak
from benchmarks.errors import BenchmarkError
from benchmarks.running import Workspace
from bundle.errors import BundleError

_TERMINATED = 143


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, 1 if a verdict is bad, 2 if nothing could be measured."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options, Workspace(options.workspace)))
    except (BundleError, BenchmarkError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--store", type=Path, default=Path("models"), help="of the shipped bundles (%(default)s)")
    shared.add_argument(
        "--workspace", type=Path, default=Path("build/bench"), help="for environments, models, logs (%(default)s)"
    )
    commands = parser.add_subparsers(required=True)
    for command in (compare_command, overload, soak, chaos):
        command.add(commands, shared)
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(_TERMINATED))  # so that the server under way is stopped too
    sys.exit(main())
