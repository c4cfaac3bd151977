"""`python -m benchmarks`: measure, print a table, and write it into the page if asked to."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bare import BareLoop, open_session
from benchmarks.report import Row, conditions, summarize, table, write
from benchmarks.server import sampling, serving
from benchmarks.subject import Sample, Subject
from bundle.store import Bundle, Store

_PAGE = Path(__file__).with_name("README.md")
_ACCEPTS = ("application/octet-stream", "image/png")
_LOOPS = (1, 2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    options = _parser().parse_args(arguments)
    bundle = choose(Store(options.store), options.model)
    busy = os.getloadavg()[0]
    rows = run(bundle, options)
    name = f"{bundle.manifest.name}@{bundle.manifest.version}"
    found = conditions(name, options.seconds, options.rounds, busy) + "\n" + table(rows)
    print(found, end="")
    if options.write:
        write(_PAGE, found)
    return 0


def choose(store: Store, model: str) -> Bundle:
    """The newest version of the model, which is what the service serves by that name.

    Raises:
        BundleError: If there is none.
    """
    return store.open(model)


def run(bundle: Bundle, options: argparse.Namespace) -> list[Row]:
    """Measure every subject in every round, one after the other."""
    session = open_session(bundle)
    with serving(options.store) as (process, host, port):
        name = f"{bundle.manifest.name}@{bundle.manifest.version}"
        groups: list[list[Subject]] = [  # the first of a group is what the others are held against
            [
                *(BareLoop(session, bundle.manifest, images, loops) for loops in _LOOPS),
                *(
                    sampling(process, host, port, name, accept, images, connections)
                    for accept in _ACCEPTS
                    for connections in options.connections
                ),
            ]
            for images in options.images
        ]
        subjects = [subject for group in groups for subject in group]
        samples: dict[Subject, list[Sample]] = {subject: [] for subject in subjects}
        for number in range(options.rounds + 1):
            for subject in subjects:
                sample = subject.measure(options.seconds if number else options.seconds / 4)
                if number:  # the first round warms up
                    samples[subject].append(sample)
            print(f"round {number} of {options.rounds}", file=sys.stderr, flush=True)
    return [summarize(subject, samples[subject], samples[group[0]]) for group in groups for subject in group]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("models"), help="folder of the bundles (%(default)s)")
    parser.add_argument("--model", default="fashion-vae", help="what to draw (%(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each subject in each round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--images", type=int, nargs="+", default=[1, 16], help="per request (%(default)s)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 32], help="open at once (%(default)s)")
    parser.add_argument("--write", action="store_true", help="put the results into benchmarks/README.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
