"""The programs from end to end against our real service: that they measure what they say, never how fast it is."""

import re
import shutil
from pathlib import Path

import pytest

from benchmarks import compare_command
from benchmarks.__main__ import main
from benchmarks.models import SMALL
from tests.support.bundles import publish

NEEDS_WRK = pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
PAGE = "# Page\n<!-- results -->\n{}<!-- end of results -->\n"


@NEEDS_WRK
@pytest.mark.slow
def test_every_subject_has_its_row_and_the_page_gets_the_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "store", SMALL)
    page = tmp_path / "README.md"
    page.write_text(PAGE.format("old\n"))
    monkeypatch.setattr(compare_command, "PAGE", page)
    monkeypatch.setattr(compare_command, "PICTURE", tmp_path / "picture.svg")
    places = ["--store", str(tmp_path / "store"), "--workspace", str(tmp_path / "work")]
    cells = ["--models", SMALL, "--images", "3", "--connections", "1", "4", "--rounds", "1", "--seconds", "1"]
    assert main(["compare", *places, *cells, "--subjects", "genserve", "--write"]) == 0
    printed = capsys.readouterr().out
    assert page.read_text() == PAGE.format(printed)
    assert "genserve" in (tmp_path / "picture.svg").read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    served = [row for row in rows if row[0] == "genserve"]
    assert [row[1] for row in served] == ["1", "4", "1", "4"]
    for row in [row for row in rows if row[0].startswith("onnxruntime")] + served:
        requests, images, share, p50, p99, cpu = (float(cell.strip("%").replace(",", "")) for cell in row[2:])
        assert requests > 0
        assert images == pytest.approx(3 * requests, abs=3)
        assert share >= 0
        assert p99 >= p50 > 0
        assert cpu > 0
    assert re.search(r"cores of .+onnxruntime \d", printed)


@NEEDS_WRK
def test_model_that_cannot_be_measured_ends_it_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path / "store", "ae", prior=None)
    places = ["--store", str(tmp_path / "store"), "--workspace", str(tmp_path / "work")]
    assert main(["compare", *places, "--models", "ae"]) == 2
    assert "does not decode codes of a prior alone" in capsys.readouterr().err


def test_report_without_a_comparison_says_how_to_make_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--workspace", str(tmp_path)]) == 2
    assert "make bench" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["results", "overload", "soak"])
def test_the_page_of_the_repository_has_its_marks(name: str) -> None:
    assert re.search(f"<!-- {name} -->\n(.*\n)*<!-- end of {name} -->", compare_command.PAGE.read_text())
