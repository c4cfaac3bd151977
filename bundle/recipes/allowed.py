"""What may stand in a key, in words, read from the JSON schema of its table; docs/recipes.md is checked against it."""

from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]


@cache
def schema_of(model: type[BaseModel]) -> Schema:
    """The JSON schema of a table."""
    return model.model_json_schema()


def find(model: type[BaseModel], path: Sequence[str | int]) -> tuple[list[str | int], Schema]:
    """The part of a table's schema that a path leads to, and as much of the path as the schema knows."""
    root = schema_of(model)
    known: list[str | int] = []
    place = _plain(root, root)
    for part in path:
        below = place.get("properties", {}).get(part) if isinstance(part, str) else _item(place, part)
        if below is None:
            break
        known.append(part)
        place = _plain(below, root)
    return known, place


def keys(place: Schema) -> list[str]:
    """The keys of a table, sorted."""
    return sorted(place.get("properties", {}))


def allowed(place: Schema) -> list[str]:
    """Members, a range, or the kind of value that a part of a schema takes."""
    if members := place.get("enum"):
        return [str(member) for member in members]
    if "const" in place:
        return [str(place["const"])]
    match place.get("type"):
        case "boolean":
            return ["true", "false"]
        case "integer":
            return [f"whole number{_range(place)}"]
        case "number":
            return [f"number{_range(place)}"]
        case "array":
            return [f"list of {_lengths(place)}: {_items(place)}"]
        case "object":
            return ["table"]
        case _:
            return [_text(place)]


def _plain(place: Schema, root: Schema) -> Schema:
    """Behind a reference, and without the null of what may be left out; what is said at the outside stays."""
    if "$ref" in place:
        place = {**root["$defs"][place["$ref"].rpartition("/")[2]], **place}
    choices = [choice for choice in place.get("anyOf", []) if choice.get("type") != "null"]
    return {**_plain(choices[0], root), **place} if len(choices) == 1 else place


def _item(place: Schema, index: int) -> Schema | None:
    fixed: list[Schema] = place.get("prefixItems", [])
    return fixed[index] if index < len(fixed) else place.get("items")


def _range(place: Schema) -> str:
    low, high = _low(place), _high(place)
    if low and high:
        return f", {low} to {high}"
    if low:
        return f", {low}" if low.startswith("over") else f", {low} or more"
    if high:
        return f", {high}" if high.startswith("under") else f", at most {high}"
    return ""


def _low(place: Schema) -> str:
    if "exclusiveMinimum" in place:
        return f"over {place['exclusiveMinimum']:g}"
    return f"{place['minimum']:g}" if "minimum" in place else ""


def _high(place: Schema) -> str:
    if "exclusiveMaximum" in place:
        return f"under {_number(place['exclusiveMaximum'])}"
    return _number(place["maximum"]) if "maximum" in place else ""


def _number(value: float) -> str:
    return f"{value:,}".removesuffix(".0")


def _lengths(place: Schema) -> str:
    low, high = place.get("minItems", 0), place.get("maxItems")
    return str(low) if low == high else f"{low} to {high}" if high is not None else "any length"


def _items(place: Schema) -> str:
    items: Schema = place["prefixItems"][0] if "prefixItems" in place else place.get("items", {})
    return allowed(items)[0]


def _text(place: Schema) -> str:
    if "pattern" in place:
        return f"text that matches {place['pattern']}"
    if "anyOf" in place:
        return " or ".join(allowed(choice)[0] for choice in place["anyOf"] if choice.get("type") != "null")
    return "path" if place.get("format") == "path" else "text"
