"""What an overload and a soak conclude from what they saw."""

import pytest

from benchmarks.arrivals import Answers
from benchmarks.connection import BROKEN
from benchmarks.overload import Round, Verdict, again_rows, goodputs, peaks_of
from benchmarks.soak import Holding, verdicts

PEAK, TIMEOUT_MS, BATCH_MS = 100.0, 500.0, 20.0
GOOD = {200: [0.4] * 950, 503: [0.005] * 2000}


def verdict(*rounds: dict[int, list[float]]) -> Verdict:
    """Of ten seconds each."""
    made = [Round(Answers(seconds=10.0, latencies=latencies), [PEAK], TIMEOUT_MS) for latencies in rounds]
    return Verdict(made, BATCH_MS)


def test_goodput_counts_answers_in_time_alone() -> None:
    found = verdict({200: [0.4] * 950 + [0.6] * 100})
    assert found.goodput == pytest.approx(0.95)


def test_what_is_answered_when_nobody_asks_any_more_is_no_goodput() -> None:
    answers = Answers(seconds=10.0, latencies=GOOD, after={200: [0.4] * 50 + [0.6] * 3})
    assert goodputs([Round(answers, [PEAK], TIMEOUT_MS)]) == pytest.approx([0.9])


def test_peak_is_that_of_the_load_that_is_best_in_the_median_and_not_of_each_rounds_luck() -> None:
    rounds = [
        Round(Answers(seconds=10.0, latencies=GOOD), peaks, TIMEOUT_MS) for peaks in ((90, 100), (130, 95), (80, 190))
    ]
    assert peaks_of(rounds) == [100, 95, 190]
    assert goodputs(rounds) == pytest.approx([0.95, 1.0, 0.5])


@pytest.mark.parametrize(
    ("change", "reached"),
    [
        ({}, True),
        ({200: [0.4] * 850}, False),
        ({200: [*GOOD[200], 0.515]}, True),
        ({200: [*GOOD[200], 0.525]}, False),
        ({503: [0.005] * 970 + [0.03] * 30}, False),
        ({504: [0.5] * 5}, True),
        ({500: [0.1]}, False),
        ({BROKEN: [0.1]}, False),
    ],
)
def test_overload_is_stood_only_if_everything_is_as_wanted(change: dict[int, list[float]], reached: bool) -> None:
    assert verdict({**GOOD, **change}).reached is reached


def test_rows_tell_what_the_verdict_is_made_of() -> None:
    rows = {what: found for what, _, found in verdict({**GOOD, 200: [*GOOD[200], 0.51]}).rows()}
    assert rows["the same over the peak"] == "95.0% (95)"
    assert rows["answered with 503, p99 ms, worst round"] == "5.0"
    assert rows["latest 200 behind its deadline, ms"] == "10.0"
    assert rows["answers by status"] == "951 of 200, 2000 of 503"


def test_of_several_rounds_goodput_is_the_median_and_all_else_the_worst() -> None:
    poor, rich = {**GOOD, 200: [0.4] * 500}, {**GOOD, 200: [0.4] * 1000}
    assert verdict(poor, rich, GOOD).goodput == pytest.approx(0.95)
    assert verdict(poor, rich, GOOD).reached
    assert not verdict(poor, poor, GOOD).reached
    assert not verdict(GOOD, GOOD, {**GOOD, 200: [*GOOD[200], 0.525]}).reached
    assert not verdict(GOOD, GOOD, {**GOOD, 503: [0.03] * 100}).reached
    assert not verdict(GOOD, GOOD, {**GOOD, 500: [0.1]}).reached
    rows = {what: found for what, _, found in verdict(poor, rich, GOOD).rows()}
    assert rows["the same over the peak"] == "95.0% (50, 100, 95)"
    assert rows["answers by status"] == "2450 of 200, 6000 of 503"


def test_who_asks_again_at_once_is_told_of_by_the_median() -> None:
    rounds = [
        Round(Answers(seconds=10.0, latencies={200: [0.4] * n, 503: [0.2] * 900}), [PEAK], TIMEOUT_MS)
        for n in (500, 900, 800)
    ]
    assert [*again_rows(rounds, 1024)] == [
        ("in time over the peak, 1,024 connections that ask again at once", "80.0% (50, 90, 80)"),
        ("answers by status meanwhile", "2200 of 200, 2700 of 503"),
    ]


def test_soak_finds_what_grows_and_only_that() -> None:
    holdings = [Holding(float(i), (50.0 + i % 3, 10.0, 200.0 + i)) for i in range(30)]
    rows = list(verdicts(holdings, rest=Holding(40.0, (20.0, 10.0, 229.0))))
    assert [(row[0], row[-1]) for row in rows] == [("descriptors", "yes"), ("threads", "yes"), ("RSS, MB", "no")]
    assert rows[2][1:6] == ("200", "215", "229", "229", "+29.0")
