"""Recipes as the commands take them: a file, and changes on the command line. Imports no torch."""

import tomllib
from pathlib import Path
from typing import Any

from bundle.recipes import (
    DataRecipe,
    ExportRecipe,
    Recipe,
    RecipeError,
    Table,
    TrainRecipe,
    Width,
    apply_overrides,
    check_table,
    read_table,
    resolved,
)

__all__ = [  # what a family needs of recipes, in one place
    "DataRecipe",
    "ExportRecipe",
    "Recipe",
    "Table",
    "TrainRecipe",
    "Width",
    "check_table",
    "parse_overrides",
    "read_recipe",
    "resolved",
]


def read_recipe(path: Path, overrides: list[str] | None = None) -> Recipe:
    """Read a recipe file; `[model]` and `[evaluate]` are left to the family and to evaluation.

    Args:
        path: A TOML file.
        overrides: `table.key=value` each, value in TOML (a bare word is taken as a string).

    Raises:
        RecipeError: If the file is no TOML, or has unknown keys or impossible values.
    """
    return check_table(Recipe, apply_overrides(read_table(path), _dotted(overrides or [])), str(path))


def parse_overrides(overrides: list[str]) -> dict[str, Any]:
    """`table.key=value` items as nested tables; values are TOML, a bare word is taken as a string.

    Raises:
        RecipeError: If an item has no "=".
    """
    return apply_overrides({}, _dotted(overrides))


def _dotted(overrides: list[str]) -> dict[str, Any]:
    return dict(map(_parse, overrides))


def _parse(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals:
        raise RecipeError(f"--set {override!r}: expected table.key=value")
    try:
        return key.strip(), tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), text
