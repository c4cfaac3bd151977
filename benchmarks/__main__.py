"""`python -m benchmarks`: measure, print a table, and write it into the page if asked to."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bare import BareLoop, open_session
from benchmarks.report import conditions, table, write
from benchmarks.server import Server, sample_request, serving
from benchmarks.subject import BenchmarkError, Sample, Subject
from bundle.errors import BundleError
from bundle.store import Bundle, Store

_PAGE = Path(__file__).with_name("README.md")
_ACCEPTS = ("application/octet-stream", "image/png")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(arguments)
    busy = os.getloadavg()[0]
    try:
        bundle = Store(options.store).open(options.model)
        name = f"{bundle.manifest.name}@{bundle.manifest.version}"
        measured = _run(bundle, name, options)
    except (BundleError, BenchmarkError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    found = conditions(name, options.seconds, options.rounds, busy) + "\n" + measured
    print(found, end="")
    if options.write:
        write(_PAGE, found)
    return 0


def _run(bundle: Bundle, name: str, options: argparse.Namespace) -> str:
    session = open_session(bundle)
    loops = {n: [BareLoop(session, bundle.manifest, n, threads) for threads in (1, 2)] for n in options.images}
    with serving(options.store) as (process, address):
        groups: list[list[Subject]] = []
        for n, bare in loops.items():
            requests = {accept: sample_request(name, n, accept) for accept in _ACCEPTS}
            ours = [
                Server(f"/sample, {accept.partition('/')[2]}", process, address, request, n, connections)
                for accept, request in requests.items()
                for connections in options.connections
            ]
            groups.append([*bare, *ours])
        return table(groups, _measure([subject for group in groups for subject in group], options))


def _measure(subjects: Sequence[Subject], options: argparse.Namespace) -> dict[Subject, list[Sample]]:
    for subject in subjects:
        subject.measure(options.seconds / 4)  # warms up
    samples: dict[Subject, list[Sample]] = {subject: [] for subject in subjects}
    for number in range(options.rounds):
        for subject in subjects:
            samples[subject].append(subject.measure(options.seconds))
        print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    return samples


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("models"), help="folder of the bundles (%(default)s)")
    parser.add_argument("--model", default="fashion-vae", help="name or name@version (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each subject in each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--images", type=int, nargs="+", default=[1, 16], help="per request (%(default)s)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32], help="open at once (%(default)s)")
    parser.add_argument("--write", action="store_true", help="put the results into benchmarks/README.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
