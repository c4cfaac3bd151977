"""The documentation agrees with what is there."""

import re
from pathlib import Path

import pytest

from bundle.store import Store
from training.results import results_page

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)|src=\"([^\"]+)\"")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    prose = FENCED.sub("", page.read_text())
    links = [first or second for first, second in LINK.findall(prose)]
    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def test_results_are_those_of_the_shipped_bundles() -> None:
    assert (ROOT / "docs/results.md").read_text() == results_page(Store(ROOT / "models"))


def test_readme_names_every_make_target_that_exists_and_no_other() -> None:
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE))
    assert named <= targets


def test_every_model_is_in_the_changelog_and_the_readme() -> None:
    for name in Store(ROOT / "models").names():
        assert name in (ROOT / "CHANGELOG.md").read_text()
        assert name in (ROOT / "README.md").read_text()
