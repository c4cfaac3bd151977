"""Whether the tables of a recipe, each valid by itself, go together, and fit the data as far as it is known."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from bundle.recipes.errors import Problem
from bundle.recipes.gan import GanRecipe
from bundle.recipes.inference import InferenceRecipe, no_parent
from bundle.recipes.metrics import (
    HEADLINE,
    LIKELIHOOD,
    OF_LABELS,
    RECONSTRUCTION,
    SAMPLES,
    Headline,
    Promotable,
    direction,
)
from bundle.recipes.tables import DataRecipe, Recipe, Table
from bundle.recipes.vae import VaeRecipe

SMALLEST_IMAGE = 8  # side: one halving down to a map of 4


@dataclass(frozen=True)
class KnownData:
    """What is known of a data set before it is read.

    Attributes:
        image: (channels, height, width); None where it is not known.
        labels: Whether it has classes; None where it is not known.
    """

    image: tuple[int, int, int] | None = None
    labels: bool | None = None


_BUILT_IN = KnownData(image=(1, 28, 28), labels=True)


def misfits(recipe: Recipe, model: Table, known: KnownData | None, own_files: bool) -> Iterator[Problem]:
    """All that does not go together; `model` is the recipe's `[model]`, checked."""
    if isinstance(model, InferenceRecipe):
        if isinstance(model.parent, dict):  # a recipe leads to no weights: an encoder of random ones would be trained
            yield no_parent(model.parent).below("model.parent")
    else:  # an encoder has its parent's data
        known = known or _known(recipe.data)
        yield from _data(recipe.data, own_files)
        yield from _sides(recipe.data, model, known)
        yield from _labels(model, known)
    yield from _promotion(recipe, model, known or KnownData())


def headline(recipe: Recipe, *, labelled: bool = True) -> Headline:
    """The figure that decides whether a version of this recipe is promoted: its own choice, or its family's.

    `iwae` stands for the bound with as many samples as the recipe measures. A model that cannot sample is judged by
    what it reconstructs, and so is a VAE without labels: the features that samples are compared by are those of a
    probe, which is trained on labels.

    Args:
        recipe: Complete.
        labelled: Whether its data have labels.
    """
    chosen = recipe.promote_on
    if chosen == "iwae":
        return Headline(f"iwae_{recipe.evaluate.get('iwae_samples', 50)}", direction(chosen))
    if chosen:
        return Headline(chosen, direction(chosen))
    if recipe.model.get("prior") == "none" or (recipe.family == "vae" and not labelled):
        return HEADLINE["inference"]
    return HEADLINE.get(recipe.family, HEADLINE["vae"])


def _known(data: DataRecipe) -> KnownData:
    if data.name in ("mnist", "fashion-mnist"):
        return _BUILT_IN
    return KnownData((data.channels, data.size, data.size)) if data.name == "folder" else KnownData()


def _data(data: DataRecipe, own_files: bool) -> Iterator[Problem]:
    if data.name in ("npz", "folder"):
        if data.path is None:
            yield Problem("data.path", f"data {data.name!r} needs a path: set data.path", None, ["path"])
        elif not own_files and not _below(data.path):
            message = f"{str(data.path)!r} leaves the data folders; name a path below them, or upload the images"
            yield Problem("data.path", message, str(data.path), ["path without a leading / and without .."])
    if data.name == "upload" and data.upload is None:
        yield Problem("data.upload", "data 'upload' needs the id of an uploaded set", None, ["id of an upload"])
    if data.name != "upload" and data.upload is not None:
        yield Problem("data.upload", f"an upload is for data.name = 'upload', not {data.name!r}", data.upload, [])


def _below(path: Path) -> bool:
    return not path.is_absolute() and ".." not in path.parts


def _sides(data: DataRecipe, model: Table, known: KnownData) -> Iterator[Problem]:
    if not isinstance(model, VaeRecipe | GanRecipe) or model.network != "conv" or known.image is None:
        return
    _, height, width = known.image
    if height % 2 or width % 2 or min(height, width) < SMALLEST_IMAGE:
        message = f"images are {width}x{height}; convolutional networks need even sides of at least {SMALLEST_IMAGE}"
        if data.name == "folder":
            yield Problem("data.size", message, data.size, [f"even number, {SMALLEST_IMAGE} to 512"])
        else:
            yield Problem("model.network", message, model.network, ["mlp"])


def _labels(model: Table, known: KnownData) -> Iterator[Problem]:
    if isinstance(model, VaeRecipe | GanRecipe) and model.conditional and known.labels is False:
        yield Problem("model.conditional", "conditional = true, but the data has no labels", True, ["false"])


def _promotion(recipe: Recipe, model: Table, known: KnownData) -> Iterator[Problem]:
    if recipe.promote_on is None:
        return
    measured = _measured(recipe, model, known)
    if recipe.promote_on not in measured:
        message = f"{recipe.promote_on!r} is not measured for this recipe; measured are {measured}"
        yield Problem("promote_on", message, recipe.promote_on, measured)


def _measured(recipe: Recipe, model: Table, known: KnownData) -> list[str]:
    """Figures that evaluation writes for such a model, in their usual order."""
    found: set[str] = set()
    if not (isinstance(model, VaeRecipe) and model.prior == "none"):
        found |= SAMPLES
    if isinstance(model, VaeRecipe) and model.noise and model.prior == "normal":
        found |= LIKELIHOOD
    if not isinstance(model, GanRecipe):
        found |= RECONSTRUCTION
    if not (isinstance(model, VaeRecipe | GanRecipe) and model.conditional):
        found -= {"label_agreement"}
    if known.labels is False:
        found -= OF_LABELS
    if recipe.evaluate.get("parzen") is False:
        found -= {"parzen_log_likelihood"}
    return [name for name in get_args(Promotable) if name in found]
