"""The benchmark measures what it says: its shape and its arithmetic, never its speed."""

import re
from pathlib import Path

import pytest

from benchmarks import __main__ as program
from benchmarks.load import drive
from benchmarks.report import row, write
from benchmarks.server import sample_request, serving
from benchmarks.subject import BenchmarkError, Sample, Subject
from tests.support.bundles import publish

COLUMNS = 8
MARKS = "<!-- results -->\n{}<!-- end of results -->\n"


class Still(Subject):
    def __init__(self) -> None:
        self.name, self.images = "still", 2

    def measure(self, seconds: float) -> Sample:
        return Sample(images=2, seconds=seconds, cpu_s=seconds, latencies=[seconds])


def test_every_subject_has_its_row_and_the_page_gets_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "store", "tiny", labels=["cat", "dog"])
    page = tmp_path / "README.md"
    page.write_text("# Page\n" + MARKS.format("old\n") + "end\n")
    monkeypatch.setattr(program, "_PAGE", page)
    options = ["--store", str(tmp_path / "store"), "--model", "tiny", "--seconds", "0.2", "--rounds", "1", "--write"]
    assert program.main([*options, "--images", "1", "3", "--connections", "1", "4"]) == 0
    printed = capsys.readouterr().out
    assert page.read_text() == "# Page\n" + MARKS.format(printed) + "end\n"
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in printed.splitlines() if line[:1] == "|"]
    assert {len(row) for row in rows} == {COLUMNS}
    names = ["onnxruntime, 1 loop", "onnxruntime, 2 loops"] + [
        f"/sample, {kind}, {connections}"
        for kind in ("octet-stream", "png")
        for connections in ("1 connection", "4 connections")
    ]
    assert [row[:2] for row in rows[2:]] == [[name, images] for images in ("1", "3") for name in names]
    for name, _, throughput, speed, cpu, cost, p50, p99 in rows[2:]:
        assert float(throughput) > 0
        assert float(p99) >= float(p50) > 0
        if name == names[0]:
            assert (speed, cost) == ("1.00", "1.00")
        assert float(cpu) >= 0
    assert re.search(r"cores of .+onnxruntime \d.+Model tiny@1; 1 rounds of 0\.2 s", printed)


def test_ratios_are_taken_within_rounds() -> None:
    subject = Still()
    slow, fast = (Sample(images=10, seconds=s, cpu_s=2 * s, latencies=[s]) for s in (4.0, 1.0))
    cells = row(subject, [slow, fast, fast], [fast, slow, slow])
    assert cells == ["still", "2", "10", "4.00", "200.000", "0.25", "1000.00", "1000.00"]


def test_answer_that_is_not_200_ends_the_measurement(tmp_path: Path) -> None:
    publish(tmp_path, "tiny")
    with serving(tmp_path) as (_, (host, port)), pytest.raises(BenchmarkError, match="unknown_model"):
        drive(host, port, sample_request("nobody", 1, "image/png"), 1, 0.1)


@pytest.mark.parametrize(("model", "words"), [("nobody", "no model 'nobody'"), ("ae", "does not draw from a prior")])
def test_model_that_cannot_be_measured_ends_it_with_a_word(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model: str, words: str
) -> None:
    publish(tmp_path, "ae", prior=None)
    assert program.main(["--store", str(tmp_path), "--model", model]) == 2
    assert words in capsys.readouterr().err


def test_page_without_marks_is_left_alone(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Page\n")
    with pytest.raises(ValueError, match="end of results"):
        write(page, "new\n")
    assert page.read_text() == "# Page\n"


def test_the_page_of_the_repository_has_its_marks() -> None:
    assert re.search("<!-- results -->\n(.*\n)+<!-- end of results -->", program._PAGE.read_text())
