"""From rounds to a table: every figure beside its ratio to the bare loop of the same round, medians of all rounds."""

import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.subject import Sample, Subject

_BLOCK = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.S)
_LIBRARIES = ("onnxruntime", "numpy", "fastapi", "uvicorn", "uvloop", "pillow")
_COLUMNS = [
    "subject",
    "images a request",
    "images/s",
    "speed to bare",
    "CPU ms an image",
    "cost to bare",
    "p50 ms",
    "p99 ms",
]


def table(groups: Sequence[Sequence[Subject]], samples: Mapping[Subject, Sequence[Sample]]) -> str:
    """Markdown; the first subject of each group is what the others of the group are held against."""
    rows = [_COLUMNS, ["---", *["---:"] * (len(_COLUMNS) - 1)]]
    rows += [row(subject, samples[subject], samples[group[0]]) for group in groups for subject in group]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in rows)


def row(subject: Subject, rounds: Sequence[Sample], baseline: Sequence[Sample]) -> list[str]:
    """The cells of one subject; ratios are taken within each round, so that a machine that slows down slows both."""

    def ratio(of: Callable[[Sample], float]) -> float:
        return median(of(one) / of(base) for one, base in zip(rounds, baseline, strict=True))

    def milliseconds(quantile: float) -> float:
        return 1000 * median(float(np.quantile(one.latencies, quantile)) for one in rounds)

    return [
        subject.name,
        str(subject.images),
        f"{median(one.throughput for one in rounds):.0f}",
        f"{ratio(lambda one: one.throughput):.2f}",
        f"{1000 * median(one.cpu_per_image for one in rounds):.3f}",
        f"{ratio(lambda one: one.cpu_per_image):.2f}",
        f"{milliseconds(0.5):.2f}",
        f"{milliseconds(0.99):.2f}",
    ]


def conditions(model: str, seconds: float, rounds: int, busy: float) -> str:
    """Machine, versions and protocol, in words; `busy` is the load average before the run."""
    libraries = ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
    return (
        f"{len(os.sched_getaffinity(0))} cores of {_processor()}, load {busy:.2f} before the run; "
        f"Python {platform.python_version()}, {libraries}. Model {model}; {rounds} rounds of {seconds:g} s each.\n"
    )


def write(page: Path, block: str) -> None:
    """Put the results into a page, between its two marks.

    Raises:
        ValueError: If the page has no such marks.
    """
    text = page.read_text(encoding="utf-8")
    if not _BLOCK.search(text):
        raise ValueError(f"{page} has no lines <!-- results --> and <!-- end of results --> to write between")
    page.write_text(_BLOCK.sub(lambda _: block, text), encoding="utf-8")


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.M) if info.is_file() else None
    return found[1] if found else platform.machine()
