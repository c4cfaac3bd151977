"""`docs/recipes.md` lists every key with what is allowed, its unit, its default and its meaning; its examples hold."""

import re
import tomllib
from pathlib import Path

import pytest

from bundle.recipes import FAMILIES, HEADLINE, RecipeError, check_recipe
from tests.bundle.recipe_rows import HEAD, TABLES, rows

TEXT = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text from a heading to the next."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/recipes.md has no heading {title!r}"
    return found[1]


@pytest.mark.parametrize("title", TABLES)
def test_the_table_of_keys_is_that_of_the_schema(title: str) -> None:
    listed = [line for line in section(title).splitlines() if line.startswith("|")]
    assert listed == HEAD + rows(TABLES[title])


def test_every_family_has_a_table_and_a_headline() -> None:
    assert {f"`[model]` of `{family}`" for family in FAMILIES} < set(TABLES)
    assert set(HEADLINE) == set(FAMILIES)
    for family, (metric, _) in HEADLINE.items():
        assert f"`{metric}`" in section("The recipe itself"), family


@pytest.mark.parametrize("text", re.findall(r"^```toml\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL))
def test_each_recipe_in_the_text_is_accepted(text: str) -> None:
    assert check_recipe(tomllib.loads(text))


def test_the_problems_in_the_text_are_those_that_are_told() -> None:
    shown = re.search(r"^```\n(recipe: .*?)\n```", TEXT, re.MULTILINE | re.DOTALL)
    assert shown
    table = {
        "name": "x",
        "family": "gan",
        "data": {"name": "mnist"},
        "model": {"latent_dims": 8, "loss": "wasserstein"},
        "train": {"epochs": 0},
    }
    with pytest.raises(RecipeError) as raised:
        check_recipe(table)
    told = [f"recipe: {problem}" for problem in raised.value.problems]
    beginnings = [line.partition("…")[0] for line in shown[1].splitlines()]
    assert [line.startswith(start) for line, start in zip(told, beginnings, strict=True)] == [True] * len(told)
