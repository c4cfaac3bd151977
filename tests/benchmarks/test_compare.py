"""In which order a comparison measures."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import compare
from benchmarks.cells import Cell, Sample
from benchmarks.contenders import CONTENDERS
from benchmarks.running import Workspace

SAMPLE = Sample(10, 1.0, 0.5, 1.0, 2.0)


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was done so far: images of the bare loops, cells of a server, and when it was left alone until idle."""
    measured: list[Any] = []

    @contextlib.contextmanager
    def running(*_: Any) -> Iterator[Any]:
        process = SimpleNamespace(settle=lambda: measured.append("settled"))
        yield SimpleNamespace(port=0, folder=Path(), process=process)

    def loops(_model: Any, images: int, loops: int, _seconds: float) -> Sample:
        if loops == 1:
            measured.append(images)
        return SAMPLE

    def sample(_contender: Any, _model: Any, _server: Any, cell: Cell, _seconds: int) -> Sample:
        measured.append((cell.images, cell.png, cell.connections))
        return SAMPLE

    replaced = {"running": running, "measure_loops": loops, "_sample": sample, "check_answer": _nothing}
    for name, value in (replaced | {"drive": _nothing, "cores": lambda: 2}).items():
        monkeypatch.setattr(compare, name, value)
    return measured


def _nothing(*_: Any) -> None:
    pass


def test_bare_loops_are_measured_on_both_sides_of_each_load_of_our_service(order: list[Any]) -> None:
    model: Any = SimpleNamespace(name="m")
    plan = compare.Plan([model], [CONTENDERS["genserve"], CONTENDERS["fastapi"]], [1, 16], [1, 32], [False, True], 1, 1)
    compare.compare(plan, Workspace(Path()))
    assert order == [
        *(1, 16),
        *("settled", 1, (1, False, 1), (1, False, 32), "settled", 1, (1, True, 1), (1, True, 32), "settled", 1),
        *("settled", 16, (16, False, 1), (16, False, 32), "settled", 16, (16, True, 1), (16, True, 32), "settled", 16),
        *[(images, png, connections) for images in (1, 16) for png in (False, True) for connections in (1, 32)],
    ]
