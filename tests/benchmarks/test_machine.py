"""What a report says of the machine."""

from types import SimpleNamespace

import psutil
import pytest

from benchmarks.machine import before, conditions


def test_report_says_how_much_of_the_processors_others_took_during_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [
        SimpleNamespace(user=10.0, nice=1.0, system=2.0, irq=0.0, softirq=0.5, steal=3.0, idle=50.0),
        SimpleNamespace(user=14.0, nice=2.0, system=4.0, irq=0.5, softirq=1.0, steal=5.0, idle=90.0),
    ]
    monkeypatch.setattr(psutil, "cpu_times", lambda: times.pop(0))
    assert " 20% of its processor time" in conditions(before())  # 2 of 8 + 2


def test_where_nobody_says_what_others_took_it_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "cpu_times", lambda: SimpleNamespace(user=10.0, system=2.0, idle=50.0))
    assert " 0% of its processor time" in conditions(before())
