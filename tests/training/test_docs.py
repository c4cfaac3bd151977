"""`docs/families.md` has every family, and its examples work; keys are in `docs/recipes.md`."""

import re
import tomllib

import pytest

from tests.training.samples import ROOT
from training.__main__ import _parser
from training.families.base import Context, build_family
from training.recipe import Recipe, check_table

TEXT = (ROOT / "docs" / "families.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text from a heading to the next."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/families.md has no heading {title!r}"
    return found[1]


@pytest.mark.parametrize("family", [path.stem for path in (ROOT / "training" / "families").glob("*.py")])
def test_each_family_has_its_heading(family: str) -> None:
    if family not in ("__init__", "base", "graphs"):
        assert section(f"`{family}`")


def test_family_of_ones_own_is_the_tested_file_to_the_letter() -> None:
    assert f"```python\n{(ROOT / 'tests/training/toy_family.py').read_text()}```" in TEXT


@pytest.mark.parametrize("text", re.findall(r"^```toml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
def test_each_recipe_in_the_text_builds_its_family(text: str) -> None:
    recipe = check_table(Recipe, tomllib.loads(text), "docs/families.md")
    assert "decode" in build_family(Context(recipe, (3, 64, 64), None)).graphs()


@pytest.mark.parametrize("command", re.findall(r"^python -m training (.+?)(?: +#.*)?$", TEXT, re.MULTILINE))
def test_each_command_in_the_text_is_understood(command: str) -> None:
    assert _parser().parse_args(command.split()).command
