"""From rounds to a table: every figure as a ratio to the bare loop of the same round, and the median of those."""

import os
import platform
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median

import numpy as np

from benchmarks.subject import Sample, Subject

_BLOCK = re.compile(r"(?<=<!-- results -->\n).*?(?=<!-- end of results -->)", re.S)
_LIBRARIES = ("onnxruntime", "numpy", "fastapi", "uvicorn", "uvloop", "pillow")


@dataclass(frozen=True)
class Row:
    """What the rounds of one subject came to; all are medians over the rounds.

    Attributes:
        subject: Its name.
        images: Images per request.
        throughput: Images per second.
        cpu_ms: CPU milliseconds per image.
        p50_ms, p99_ms: Latency of a request.
        speed: Throughput over that of the baseline in the same round.
        cost: CPU time per image, likewise.
    """

    subject: str
    images: int
    throughput: float
    cpu_ms: float
    p50_ms: float
    p99_ms: float
    speed: float
    cost: float


def summarize(subject: Subject, rounds: Sequence[Sample], baseline: Sequence[Sample]) -> Row:
    """One row.

    Args:
        subject: What was measured.
        rounds: A sample of each round.
        baseline: What it is held against, of the same rounds.
    """
    pairs = list(zip(rounds, baseline, strict=True))
    return Row(
        subject.name,
        subject.images,
        throughput=median(one.throughput for one in rounds),
        cpu_ms=1000 * median(one.cpu_per_image for one in rounds),
        p50_ms=1000 * median(float(np.quantile(one.latencies, 0.5)) for one in rounds),
        p99_ms=1000 * median(float(np.quantile(one.latencies, 0.99)) for one in rounds),
        speed=median(one.throughput / base.throughput for one, base in pairs),
        cost=median(one.cpu_per_image / base.cpu_per_image for one, base in pairs),
    )


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| subject | images a request | images/s | × bare | CPU ms an image | × bare | p50 ms | p99 ms |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        lines.append(
            f"| {row.subject} | {row.images} | {row.throughput:.0f} | {row.speed:.2f} | {row.cpu_ms:.3f} | "
            f"{row.cost:.2f} | {row.p50_ms:.2f} | {row.p99_ms:.2f} |"
        )
    return "\n".join(lines) + "\n"


def conditions(model: str, seconds: float, rounds: int, busy: float) -> str:
    """Machine, versions and protocol, in words.

    Args:
        model: `name@version` of what was drawn.
        seconds: Of each subject in each round.
        rounds: How many.
        busy: Load average of the machine before the run.
    """
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
