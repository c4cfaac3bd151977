"""Recipes from files, and changes to them."""

import copy
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bundle.recipes.errors import Problem, RecipeError, plain


def read_table(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, not yet checked.

    Raises:
        RecipeError: If it cannot be read, or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise RecipeError(f"{path} is not TOML: {error}") from error


def named(folder: Path) -> dict[str, Path]:
    """The recipes of a folder by name, which is that of their file; none where there is no such folder."""
    return {path.stem: path for path in sorted(folder.glob("*.toml")) if path.is_file()}


def read_named(folder: Path, name: str) -> dict[str, Any]:
    """The tables of the recipe of that name, not yet checked.

    Raises:
        RecipeError: If there is none (with those that there are), or its file cannot be read.
    """
    recipes = named(folder)
    if name not in recipes:
        known = list(recipes)
        message = f"no recipe {plain(name)!r}; there are {known}"
        raise RecipeError.of("recipe", [Problem("recipe", message, plain(name), known)])
    return read_table(recipes[name])


def apply_overrides(table: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of a recipe's tables with some keys changed.

    Args:
        table: A recipe, or a part of one.
        overrides: Dotted key (`train.epochs`) → new value, in order; tables on the way are made.

    Raises:
        RecipeError: For each key that leads through a value, or is not one.
    """
    changed = copy.deepcopy(dict(table))
    problems = [problem for key, value in overrides.items() if (problem := _override(changed, key, value))]
    if problems:
        raise RecipeError.of("overrides", problems)
    return changed


def _override(table: dict[str, Any], key: str, value: Any) -> Problem | None:
    *parents, last = key.split(".")
    if not all((*parents, last)):
        return Problem(plain(key), f"expected a dotted key such as train.epochs, not {plain(key)!r}", plain(value))
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            return Problem(plain(key), f"{parent!r} is a value, not a table", plain(value))
    table[last] = copy.deepcopy(value)
    return None
