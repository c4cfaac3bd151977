"""A whole run: data, loop, and at its end a published bundle."""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from bundle.manifest import Metric, Parent
from bundle.recipes import EvaluationSettings
from bundle.store import Bundle, Store
from training.data.dataset import Dataset
from training.data.load import load_dataset
from training.errors import RecipeError
from training.evaluation.report import evaluate
from training.export.publish import Run, load_weights, publish
from training.families.base import Context, Family, build_family
from training.families.inference import Inference
from training.loop import Loop
from training.onnx_graph import OnnxGraph
from training.progress import Display
from training.recipe import Recipe, check_table, resolved
from training.tracking import check_tracking
from training.watching.sink import About, Sink

_log = logging.getLogger(__name__)

Stop = Callable[[], bool]
_INFERENCE = "inference"
PROBES = "probes"  # folder in `runs/` for what evaluation keeps between runs


@dataclass(frozen=True)
class Hooks:
    """What whoever starts a run may add to it.

    Attributes:
        folder: The run's folder in `runs`; None for the recipe's name.
        run: Id that the bundle's manifest holds: a second publication with it gives the first one's bundle.
        sinks: Who else is told of the run.
        ready: Called when all is exported and measured, right before publication; an error from it prevents that.
        checkpoint_s: Seconds between checkpoints, instead of the recipe's.
        device: Where the networks are trained; they are exported and measured on the CPU.
        own_files: As for `load_dataset`.
    """

    folder: str | None = None
    run: str | None = None
    sinks: Sequence[Callable[[About], Sink]] = ()
    ready: Callable[[], None] = lambda: None
    checkpoint_s: float | None = None
    device: str = "cpu"
    own_files: bool = True


_NOTHING = Hooks()


def train(
    recipe: Recipe, runs: Path, store: Store, stop: Stop, restart: bool = False, hooks: Hooks = _NOTHING
) -> Bundle | None:
    """Train a recipe to its end and publish it, going on from its checkpoint if there is one.

    Args:
        recipe: What to train.
        runs: Folder of runs; this one is `<runs>/<recipe.name>`.
        store: Where the bundle goes.
        stop: Asked after each round; the run then saves and ends.
        restart: Forget an earlier run of that name.
        hooks: What else is to happen on the way.

    Returns:
        The bundle; None if the run was stopped before its end.

    Raises:
        TrainingError: In any of its forms.
    """
    check_tracking()
    dataset = load_dataset(recipe.data, own_files=hooks.own_files)
    recipe, settings = _with_settings(recipe)
    family = build_family(Context(recipe, dataset.train.shape, dataset.label_names))
    return _run(family, dataset, settings, runs, hooks.folder or recipe.name, store, stop, restart, hooks)


def infer(
    name: str,
    recipe: Recipe,
    runs: Path,
    store: Store,
    stop: Stop,
    restart: bool = False,
    hooks: Hooks = _NOTHING,
) -> Bundle | None:
    """Train an encoder for the frozen generator of a bundle, and publish the two as the bundle's next version.

    Args:
        name: Reference of the parent bundle.
        recipe: Family `inference`, its name and data those of the parent: see `inference_recipe`.
        runs, store, stop, restart, hooks: As for `train`.

    Returns:
        The bundle; None if the run was stopped before its end.

    Raises:
        TrainingError: In any of its forms.
        BundleError: If there is no such parent, or it is damaged.
    """
    check_tracking()
    parent = store.open(name)
    parent.verify()
    dataset = load_dataset(recipe.data, own_files=hooks.own_files)
    recipe, settings = _with_settings(recipe)
    family = build_family(Context(recipe, dataset.train.shape, None))
    assert isinstance(family, Inference)
    family.load_parent(_generator_weights(parent))
    link = _generator(parent)
    folder = hooks.folder or f"{recipe.name}-inference"
    return _run(family, dataset, settings, runs, folder, store, stop, restart, hooks, link)


def measure_with(dataset: Dataset, settings: EvaluationSettings, runs: Path) -> Callable[..., list[Metric]]:
    """What `publish` calls to measure exported graphs."""

    def measure(sessions: dict[str, OnnxGraph], family: Family) -> list[Metric]:
        return evaluate(sessions, family.prior, dataset, settings, runs / PROBES)

    return measure


def _run(
    family: Family,
    dataset: Dataset,
    settings: EvaluationSettings,
    runs: Path,
    folder_name: str,
    store: Store,
    stop: Stop,
    restart: bool,
    hooks: Hooks,
    parent: Parent | None = None,
) -> Bundle | None:
    folder = runs / folder_name
    if restart and folder.exists():
        shutil.rmtree(folder)
    loop = Loop(family, dataset.train, folder, hooks.device)
    _log.info("%s: rounds %d to %d, in %s", folder_name, loop.round, loop.rounds, folder)
    with Display(loop, hooks.sinks) as display:
        if not loop.run(display, stop, hooks.checkpoint_s):
            display.stopped()
            _log.info("stopped after round %d of %d; the same command goes on from there", loop.round, loop.rounds)
            return None
        display.publishing()
        state = {name: value.cpu() for name, value in loop.ema.state.items()}
        run = Run(state, loop.round, loop.seconds, hooks.run)
        measure = _then(hooks.ready, measure_with(dataset, settings, runs))
        bundle = publish(family.context, run, dataset, store, measure, parent)
        display.published(bundle)
    _log.info("published %s@%d in %s", bundle.manifest.name, bundle.manifest.version, bundle.path)
    return bundle


def _then(ready: Callable[[], None], measure: Callable[..., list[Metric]]) -> Callable[..., list[Metric]]:
    """Measures, then asks: it is the last thing before publication."""

    def measured(sessions: dict[str, OnnxGraph], family: Family) -> list[Metric]:
        metrics = measure(sessions, family)
        ready()
        return metrics

    return measured


def _with_settings(recipe: Recipe) -> tuple[Recipe, EvaluationSettings]:
    """The recipe with all evaluation settings written out, and these."""
    settings = check_table(EvaluationSettings, recipe.evaluate, "[evaluate]")
    return recipe.model_copy(update={"evaluate": settings.model_dump(mode="json")}), settings


def _generator(bundle: Bundle) -> Parent:
    """The bundle that a generator was trained as: this one, or, where this has an encoder for it, its parent."""
    m = bundle.manifest
    if m.family == _INFERENCE and m.parent:
        return m.parent
    return Parent(name=m.name, version=m.version, digest=bundle.digest, training=m.training)


def _generator_weights(bundle: Bundle) -> dict[str, Tensor]:
    state = load_weights(bundle.path / bundle.manifest.weights.path)
    if bundle.manifest.family != _INFERENCE:
        return state
    prefix = "parent."
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def inference_recipe(template: Recipe, parent: Bundle) -> Recipe:
    """The recipe of an encoder for a bundle: name, data and storage of the parent, the rest of the template.

    A bundle that has such an encoder already stands for its generator: the new encoder takes the old one's place.

    Raises:
        RecipeError: If the template is of another family.
    """
    if template.family != _INFERENCE:
        raise RecipeError(f"recipe {template.name!r} has family {template.family!r}; expected {_INFERENCE!r}")
    manifest = parent.manifest
    parent_recipe = check_table(Recipe, manifest.training.recipe, str(parent.path))
    if parent_recipe.family == _INFERENCE:
        parent_recipe = check_table(Recipe, parent_recipe.model["parent"], str(parent.path))
    model = {
        **template.model,
        "parent": resolved(parent_recipe),
        "parent_digest": _generator(parent).digest,
        "parent_labels": manifest.labels,
    }
    changes: dict[str, object] = {
        "name": manifest.name,
        "data": parent_recipe.data,
        "model": model,
        "export": parent_recipe.export,
    }
    changes["evaluate"] = {**parent_recipe.evaluate, **template.evaluate}
    return template.model_copy(update=changes)
