"""The JSON schema of a whole recipe, for forms and editors."""

from typing import Any

from bundle.recipes.allowed import schema_of
from bundle.recipes.evaluation import EvaluationSettings
from bundle.recipes.families import FAMILIES
from bundle.recipes.tables import Recipe


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12): `[model]` follows from `family`; units stand under the key `unit`."""
    root = schema_of(Recipe)
    definitions = {**root["$defs"], EvaluationSettings.__name__: schema_of(EvaluationSettings)}
    definitions |= {table.__name__: schema_of(table) for table in FAMILIES.values()}
    properties = {
        **root["properties"],
        "family": {**root["properties"]["family"], "enum": list(FAMILIES)},
        "evaluate": {"$ref": f"#/$defs/{EvaluationSettings.__name__}"},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "$defs": definitions,
        "properties": properties,
        "allOf": [_model(family, table.__name__) for family, table in FAMILIES.items()],
    }


def _model(family: str, definition: str) -> dict[str, Any]:
    return {
        "if": {"properties": {"family": {"const": family}}},
        "then": {"properties": {"model": {"$ref": f"#/$defs/{definition}"}}},
    }
