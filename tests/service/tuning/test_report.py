"""What is printed shows every point, the proposal and the doubts."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.tuning.plot import CHOSEN, MARKERS, Series, legend, plot
from service.tuning.proposal import Proposal, propose
from service.tuning.report import plots, table, verdict
from service.tuning.shapes import Setup, Shape
from tests.service.tuning.fakes import point

POINTS = [point(2, 1, 1, 2000), point(2, 16, 8, 4000), point(1, 1, 0.8, 1200, 2), point(1, 16, 5, 3000, 2)]
HEADER = ["lanes", "x", "threads", "batch", "run", "ms:", "median", "p99", "predicted", "p99", "ms", "images/s", "runs"]
NOW, CHOSEN_SETUP = POINTS[0].setup, POINTS[1].setup


def test_table_has_a_line_for_each_point_and_marks_the_proposed_and_the_present_one() -> None:
    header, *lines = table(POINTS, NOW, CHOSEN_SETUP)
    assert header.split() == HEADER
    assert lines[0].split() == ["2", "x", "1", "1", "0.5", "1", "2.2", "2,000", "100", "←", "now"]
    assert lines[1].split()[-2:] == ["←", "proposed"]
    assert [line for line in lines if "←" in line] == lines[:2]
    assert len(lines) == len(POINTS)
    assert table(POINTS, NOW, NOW)[1].endswith("← proposed, now")


def test_verdict_compares_the_proposal_with_what_is_set() -> None:
    proposed, now = verdict(propose(POINTS, 0.05), POINTS, NOW, 0.05)
    assert proposed.startswith(
        "proposed for a p99 of 50 ms: lanes = 2, threads = 1, max_batch_size = 16: 4,000 images/s"
    )
    assert now.startswith("as it is set now: lanes = 2, threads = 1, max_batch_size = 1: 2,000 images/s")


def test_target_that_nothing_meets_is_said_aloud() -> None:
    line = verdict(propose(POINTS, 0.001), POINTS, Setup(Shape(9, 9), 9), 0.001)[0]
    assert line.startswith("NO SETTING MEETS A P99 OF 1 ms; proposed is the one with the least: lanes = 1, threads = 2")


def test_noise_is_said_aloud() -> None:
    noisy = [point(1, 1, 10, 100)]
    noisy = [type(noisy[0])(noisy[0].setup, 0.001, 0.01, 100, 100)]
    assert "up to 10 times its median" in verdict(Proposal(noisy[0], True), noisy, NOW, 1)[-1]


@given(
    st.lists(
        st.dictionaries(st.sampled_from([1, 2, 4, 8, 16, 32, 64]), st.floats(0.001, 1e7), min_size=1),
        min_size=1,
        max_size=8,
    ),
    st.booleans(),
    st.floats(0.001, 1e7),
)
def test_plot_shows_every_value_once_in_its_column_and_higher_for_more(
    values: list[dict[int, float]], log: bool, line: float
) -> None:
    series = [Series(str(i), each, min(each) if i == 0 else None) for i, each in enumerate(values)]
    title, *rows = plot("ms", series, log, line)
    assert title == "ms"
    cells = [row[11:] for row in rows[:-2]]
    assert sum(row.count(CHOSEN) for row in cells) == 1
    for i, each in enumerate(values):
        marks = [(row.index(MARKERS[i]), n) for n, row in enumerate(cells) for _ in range(row.count(MARKERS[i]))]
        assert len(marks) == len(each) - (i == 0)
    for each, marker in zip(values[1:], MARKERS[1:], strict=False):
        heights = {x: n for n, row in enumerate(cells) for x in (m.start() for m in re.finditer(marker, row))}
        by_batch = [heights[x] for x in sorted(heights)]
        pairs = list(zip([each[batch] for batch in sorted(each)], by_batch, strict=True))
        assert all(low_row >= high_row for low, low_row in pairs for high, high_row in pairs if low <= high)
    batches = sorted({batch for each in values for batch in each})
    assert rows[-1].split() == ["batch", *map(str, batches)]


@pytest.mark.parametrize(("target_ms", "drawn"), [(5, True), (500, False), (0.1, False)])
def test_target_is_drawn_where_it_is_in_reach(target_ms: float, drawn: bool) -> None:
    text = plots(POINTS, CHOSEN_SETUP, target_ms / 1000)
    assert any("┄┄┄" in line for line in text) == drawn
    assert sum(line.count(CHOSEN) for line in text[:-1]) == 2  # in each of the two


def test_legend_names_each_series() -> None:
    assert legend([Series("a", {1: 1}), Series("b", {1: 1})]) == "● a   ○ b"
