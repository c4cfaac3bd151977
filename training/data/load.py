"""From the `[data]` table of a recipe to a data set."""

import os
from pathlib import Path
from typing import assert_never

from training.data import folder, idx, npz, upload
from training.data.dataset import Dataset
from training.errors import DataError
from training.recipe import DataRecipe


def load_dataset(recipe: DataRecipe) -> Dataset:
    """The data set that a recipe names, checked, in memory.

    Raises:
        DataError: If it is missing, corrupt, empty or of a wrong shape.
    """
    match recipe.name:
        case "mnist":
            return idx.load(idx.MNIST, data_folders())
        case "fashion-mnist":
            return idx.load(idx.FASHION_MNIST, data_folders())
        case "npz":
            return npz.load(
                _find(recipe), recipe.labels, recipe.split_by, recipe.test_share, recipe.licence, recipe.attribution
            )
        case "folder":
            return folder.load(
                _find(recipe), recipe.size, recipe.channels, recipe.test_share, recipe.licence, recipe.attribution
            )
        case "upload":
            if recipe.upload is None:
                raise DataError("data 'upload' needs the id of an uploaded set: set data.upload")
            return upload.load(
                upload.uploads_folder(), recipe.upload, recipe.test_share, recipe.licence, recipe.attribution
            )
        case _:
            assert_never(recipe.name)


def data_folders() -> list[Path]:
    """Where data is looked for, in this order: `GENSERVE_DATA`, then `data/`."""
    given = os.environ.get("GENSERVE_DATA")
    return [*([Path(given)] if given else []), Path("data")]


def _find(recipe: DataRecipe) -> Path:
    if recipe.path is None:
        raise DataError(f"data {recipe.name!r} needs a path: set data.path in the recipe or with --set data.path=...")
    if recipe.path.is_absolute():
        return recipe.path
    candidates = [folder / recipe.path for folder in data_folders()] + [recipe.path]
    return next((path for path in candidates if path.exists()), recipe.path)
