"""Recipes side by side."""

from collections.abc import Sequence
from typing import Any

# Of a run, not of the model; what a frozen generator was trained by is its digest's to say.
_LEFT_OUT = ("name", "model.parent.", "data.licence", "data.attribution", "train.checkpoint_minutes")


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as one, with dotted keys; lists are values."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def differences(recipes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each recipe its values of the keys in which it differs from another one of the same family."""
    tables = [{k: v for k, v in flat(recipe).items() if not k.startswith(_LEFT_OUT)} for recipe in recipes]
    found = []
    for table in tables:
        others = [other for other in tables if other.get("family") == table.get("family")]
        found.append({k: v for k, v in table.items() if any(other.get(k) != v for other in others)})
    return found


def data_of(recipe: dict[str, Any]) -> str:
    """What a recipe learns from, in a word or two."""
    data = recipe.get("data") or {}
    return str(data.get("upload") or data.get("path") or data.get("name") or "unknown data")
