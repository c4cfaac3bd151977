"""The file that a comparison leaves, from which the page can be written again."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.cells import Cell, Measurement, Sample
from benchmarks.errors import BenchmarkError


@dataclass(frozen=True)
class Results:
    """All measurements of a comparison, and the conditions in words."""

    conditions: str
    measurements: list[Measurement]


def save(results: Results, path: Path) -> None:
    """Write them as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(results), indent=1) + "\n")


def load(path: Path) -> Results:
    """Read them.

    Raises:
        BenchmarkError: If there is no such file.
    """
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be read: {error.strerror}; `make bench` makes it") from error
    return Results(found["conditions"], [_measurement(item) for item in found["measurements"]])


def _measurement(item: dict[str, Any]) -> Measurement:
    sample = Sample(**item["sample"]) if item["sample"] else None
    return Measurement(**{**item, "cell": Cell(**item["cell"]), "sample": sample})
