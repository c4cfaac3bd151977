"""From a job's recipe to what `training.run` takes: an encoder's parent is looked up once, and kept."""

import json
from pathlib import Path
from typing import Any

from bundle.durable import replace_file
from bundle.recipes import Recipe, check_table
from bundle.store import Store

_PARENT = "parent.json"


def ordered(table: dict[str, Any], folder: Path, store: Store) -> tuple[Recipe, str | None]:
    """The recipe, and the reference of the parent for an encoder.

    `NAME` may mean another bundle when the run goes on after a restart, so what it meant first is written down in the
    run's folder.

    Raises:
        BundleError: If the recipe is none, or there is no such parent.
    """
    recipe = check_table(Recipe, table, "recipe")
    reference = recipe.model.get("parent")
    if recipe.family != "inference" or not isinstance(reference, str):
        return recipe, None
    from training.run import inference_recipe

    pinned = folder / _PARENT
    if pinned.exists():
        reference = str(json.loads(pinned.read_text())["parent"])
    bundle = store.open(reference)
    reference = f"{bundle.manifest.name}@{bundle.manifest.version}"
    replace_file(pinned, json.dumps({"parent": reference}).encode())
    return inference_recipe(recipe, bundle), reference
