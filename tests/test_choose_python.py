"""Environments are made with the faster of two builds, and never with a Python that lacks what they need."""

import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

import pytest

from scripts.choose_python import choose, seconds


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({"ours": [1.0] * 4, "theirs": [0.7] * 4}, "theirs"),
        ({"ours": [1.0] * 4, "theirs": [0.9] * 4}, "ours"),  # not worth another Python
        ({"ours": [1.0] * 4, "theirs": [0.7] * 4, "third": [0.6] * 4}, "third"),
        ({"ours": [9.0, 1.0, 9.0, 9.0], "theirs": [0.9] * 4}, "ours"),  # the machine was busy
        ({"ours": [1.0] * 4, "theirs": [None] * 4}, "ours"),
        ({"ours": [None] * 4, "theirs": [0.1] * 4}, "ours"),
        ({"ours": [1.0] * 4}, "ours"),
    ],
)
def test_the_faster_one_is_taken_if_it_is_a_good_deal_faster(
    found: Mapping[str, Iterable[float | None]], chosen: str
) -> None:
    left = {python: iter(values) for python, values in found.items()}
    others = [python for python in found if python != "ours"]
    assert choose("ours", others, lambda python: next(left[python])) == chosen


def test_this_python_is_measured() -> None:
    found = seconds(sys.executable)
    assert found is not None
    assert found > 0


def test_python_of_another_version_or_without_modules_will_not_do(tmp_path: Path) -> None:
    other = tmp_path / "python"
    for text in ("#!/bin/sh\necho 3 9 0.001\n", "#!/bin/sh\nexit 1\n", "#!/bin/sh\n", "no program"):
        other.write_text(text)
        other.chmod(0o755)
        assert seconds(str(other)) is None
    other.chmod(0o644)
    assert seconds(str(other)) is None


def test_script_prints_one_python_that_runs() -> None:
    script = Path(__file__).parents[1] / "scripts" / "choose_python.py"
    printed = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True).stdout.splitlines()
    assert len(printed) == 1
    assert os.access(printed[0], os.X_OK)
