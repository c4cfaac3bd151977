"""Small real data for the tests, and recipes that take milliseconds."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from training.data.dataset import Dataset, ImageSet, content_sha256
from training.families.base import Context
from training.recipe import Recipe, check_table

DATA = Path(__file__).parents[1] / "data"
ROOT = Path(__file__).parents[2]
SIDE = 16  # two halvings: the smallest pyramid with a layer between the first and the last
CLASSES = 10


@cache
def digits(side: int = SIDE, train: int = 64, test: int = 15) -> Dataset:
    """The middle of real MNIST digits: (n, side, side, 1); too few test images for evaluation to start."""
    edge = (28 - side) // 2
    middle = slice(edge, edge + side)
    with np.load(DATA / "mnist_small.npz") as arrays:
        first, second = (
            ImageSet(
                np.ascontiguousarray(arrays[f"x_{split}"][:n, middle, middle, None]),
                arrays[f"y_{split}"][:n].astype(np.int64),
            )
            for split, n in (("train", train), ("test", test))
        )
    names = tuple(str(i) for i in range(CLASSES))
    return Dataset(
        "digits", content_sha256(first, second), first, second, names, "CC-BY-SA-3.0", "MNIST, LeCun and Cortes"
    )


def recipe(
    family: str, model: Mapping[str, Any], name: str = "tiny", data: Mapping[str, Any] | None = None, **train: Any
) -> Recipe:
    """A recipe of four rounds, unless `train` says otherwise."""
    table = {
        "name": name,
        "family": family,
        "seed": 3,
        "data": data or {"name": "mnist"},
        "model": dict(model),
        "train": {"batch_size": 16, "epochs": 1, "ema": 0.9, **train},
    }
    return check_table(Recipe, table, "test recipe")


def context(recipe: Recipe, dataset: Dataset) -> Context:
    """What a family of that recipe and set is built for."""
    return Context(recipe, dataset.train.shape, dataset.label_names)
