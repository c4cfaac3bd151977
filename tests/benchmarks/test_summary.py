"""From measurements to figures, verdicts, the page and the picture."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.cells import Cell, Measurement, Sample
from benchmarks.chart import chart
from benchmarks.compare import BARE_ALL, BARE_ONE
from benchmarks.models import SMALL
from benchmarks.page import markdown, write
from benchmarks.results import Results, load, save
from benchmarks.summary import Summary
from benchmarks.targets import targets

CELL = Cell(SMALL, 1, 32)


def sample(rate: float, cpu_ms: float = 1.0) -> Sample:
    """One second at so many requests a second."""
    return Sample(requests=int(rate), seconds=1.0, cpu_s=rate * cpu_ms / 1000, p50_ms=2.0, p99_ms=3.0)


def measured(subject: str, *rates: float, cell: Cell = CELL, cpu_ms: float = 1.0) -> list[Measurement]:
    """A round for each rate."""
    return [Measurement(i, subject, cell, sample(rate, cpu_ms)) for i, rate in enumerate(rates)]


def test_ratios_are_taken_within_rounds() -> None:
    summary = Summary([*measured("genserve", 100, 400, 400), *measured("fastapi", 100, 100, 400)])
    ratios = summary.compared("genserve", CELL, "fastapi", CELL, lambda ours, theirs: ours.rate / theirs.rate)
    assert ratios == 1.0  # the medians' ratio is 4: they are of different rounds


def test_stretches_of_a_round_count_as_one() -> None:
    slow, fast = Sample(10, 1.0, 0.5, 4.0, 8.0), Sample(50, 3.0, 1.5, 2.0, 4.0)
    bare = [Measurement(0, BARE_ALL, CELL.bare, one) for one in (slow, fast)]
    summary = Summary([*bare, *measured("genserve", 30)])
    assert summary.rounds(BARE_ALL, CELL.bare) == {0: Sample(60, 4.0, 2.0, 3.0, 6.0)}
    assert summary.share_of_limit("genserve", CELL) == 2.0


def test_limit_is_the_faster_of_the_bare_loops() -> None:
    both = [*measured(BARE_ONE, 100, cell=CELL.bare), *measured(BARE_ALL, 150, cell=CELL.bare)]
    summary = Summary([*both, *measured("genserve", 75)])
    assert summary.limit(CELL) == BARE_ALL
    assert summary.share_of_limit("genserve", CELL) == 0.5


def test_subject_with_a_problem_in_any_round_has_no_figures_and_its_reason_is_told() -> None:
    spoilt = Measurement(1, "fastapi", CELL, None, "3 of 9 requests failed")
    measurements = [*measured("genserve", 100, 100), *measured("fastapi", 50), spoilt]
    assert Summary(measurements).value("fastapi", CELL, lambda s: s.rate) is None
    text = markdown(Results("Somewhere.", measurements))
    assert "| FastAPI | 32 | - |" in text
    assert "FastAPI on fashion-vae (cells: 1): 3 of 9 requests failed" in text


@pytest.mark.parametrize(("ours", "verdict"), [(250, "yes"), (249, "no")])
def test_target_is_reached_from_its_figure_on(ours: float, verdict: str) -> None:
    found = targets(Summary([*measured("genserve", ours), *measured("fastapi", 100)]))
    assert [("yes" if one.reached else "no") for one in found if one.found and "FastAPI" in one.what] == [verdict]


def test_added_cpu_is_what_goes_beyond_a_bare_run() -> None:
    bare = measured(BARE_ONE, 100, cell=CELL.bare, cpu_ms=0.25)
    found = targets(Summary([*bare, *measured("genserve", 100, cpu_ms=0.5)]))
    assert [one.found for one in found if "CPU" in one.what] == ["0.250 ms"]


def test_what_was_not_measured_is_no_target_reached() -> None:
    assert not any(one.reached for one in targets(Summary([])))


def test_picture_is_xml_with_a_bar_for_each_that_has_figures() -> None:
    bare = measured(BARE_ONE, 100, cell=CELL.bare)
    spoilt = Measurement(0, "ray", CELL, None, "no")
    root = ElementTree.fromstring(chart(Summary([*bare, *measured("genserve", 80), *measured("fastapi", 40), spoilt])))
    bars = [float(one.attrib["width"]) for one in root.iter("{http://www.w3.org/2000/svg}rect") if "x" in one.attrib]
    assert bars == sorted(bars, reverse=True)
    assert bars[2] / bars[0] == pytest.approx(0.4, abs=0.01)
    assert len(bars) == 3
    assert "not measured" in [one.text for one in root.iter("{http://www.w3.org/2000/svg}text")]


def test_results_survive_their_file(tmp_path: Path) -> None:
    results = Results("Here.", [*measured("genserve", 10, 20), Measurement(0, "ray", CELL, None, "why")])
    save(results, tmp_path / "folder" / "results.json")
    assert load(tmp_path / "folder" / "results.json") == results


def test_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    with pytest.raises(ValueError, match="end of results"):
        write(page, "results", "new\n")
    assert page.read_text() == "# Page\n"
