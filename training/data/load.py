"""From the `[data]` table of a recipe to a data set."""

import os
from pathlib import Path
from typing import assert_never

from training.data import folder, idx, npz, upload
from training.data.dataset import Dataset
from training.errors import DataError
from training.recipe import DataRecipe


def load_dataset(recipe: DataRecipe, *, own_files: bool = True) -> Dataset:
    """The data set that a recipe names, checked, in memory.

    Args:
        recipe: The table.
        own_files: Whether `data.path` may be any path of this machine; otherwise it has to lie in a data folder, also
            once links are followed, and not among the uploaded sets.

    Raises:
        DataError: If it is missing, corrupt, empty, of a wrong shape, or not to be read.
    """
    match recipe.name:
        case "mnist":
            return idx.load(idx.MNIST, data_folders())
        case "fashion-mnist":
            return idx.load(idx.FASHION_MNIST, data_folders())
        case "npz":
            return npz.load(
                _find(recipe, own_files),
                recipe.labels,
                recipe.split_by,
                recipe.test_share,
                recipe.licence,
                recipe.attribution,
            )
        case "folder":
            path = _find(recipe, own_files)
            return folder.load(
                path, recipe.size, recipe.channels, recipe.test_share, recipe.licence, recipe.attribution
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


def _find(recipe: DataRecipe, own_files: bool) -> Path:
    if recipe.path is None:
        raise DataError(f"data {recipe.name!r} needs a path: set data.path in the recipe or with --set data.path=...")
    if not own_files:
        return _confined(recipe.path)
    if recipe.path.is_absolute():
        return recipe.path
    candidates = [folder / recipe.path for folder in data_folders()] + [recipe.path]
    return next((path for path in candidates if path.exists()), recipe.path)


def _confined(path: Path) -> Path:
    uploads = upload.uploads_folder().resolve()
    for root in (place.resolve() for place in data_folders()):
        found = (root / path).resolve()
        if found.exists() and found.is_relative_to(root) and not found.is_relative_to(uploads):
            return found
    raise DataError(
        f"there is no {str(path)!r} in the data folders of this worker (GENSERVE_DATA, data/); a job's data.path has "
        "to lie in one of them, also once links are followed, and not among the uploads: name those by data.upload"
    )
