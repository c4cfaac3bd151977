"""Work on bundles that are published already: optional files again, figures again, a list."""

from pathlib import Path

from bundle.golden import load_golden
from bundle.manifest import Metric
from bundle.optional import OptionalFiles
from bundle.recipes import EvaluationSettings
from bundle.store import Bundle, Store
from training.averaged import averaged_family
from training.data.dataset import Dataset
from training.data.load import load_dataset
from training.errors import DataError
from training.evaluation.report import evaluate
from training.export.optional import write_optional_files
from training.export.prepare import prepared
from training.export.publish import load_weights
from training.families.base import Context, Family
from training.onnx_graph import OnnxGraph
from training.recipe import Recipe, check_table
from training.run import PROBES


def export_again(store: Store, ref: str) -> OptionalFiles:
    """Make the optional files of a bundle again from its recipe and weights, within the golden tolerance.

    Raises:
        BundleError: If the bundle is missing or damaged, or what was made disagrees with its golden outputs.
        RecipeError: If this program no longer understands the recipe.
    """
    bundle = store.open(ref)
    bundle.verify()
    family = rebuilt_family(bundle)
    graphs = family.graphs()
    modules = {name: prepared(graph, family.context.recipe.export) for name, graph in graphs.items()}
    tolerances = {name: spec.tolerance for name, spec in bundle.manifest.graphs.items()}
    golden = load_golden(bundle.path / bundle.manifest.golden.path)
    return write_optional_files(bundle.path, graphs, modules, golden, tolerances, family, _data(family))


def evaluate_again(store: Store, ref: str, runs: Path, overrides: dict[str, object]) -> list[Metric]:
    """Measure a bundle by the settings of its recipe and some changes.

    Raises:
        BundleError: If the bundle is missing or damaged.
        TrainingError: If its data cannot be found, or a setting is unknown.
    """
    bundle = store.open(ref)
    bundle.verify()
    recipe = bundle_recipe(bundle)
    settings = check_table(EvaluationSettings, {**recipe.evaluate, **overrides}, "[evaluate]")
    sessions = {str(name): OnnxGraph(bundle.path / graph.file.path) for name, graph in bundle.manifest.graphs.items()}
    return evaluate(sessions, bundle.manifest.prior, load_dataset(recipe.data), settings, runs / PROBES)


def bundle_recipe(bundle: Bundle) -> Recipe:
    """The recipe that a bundle was made from."""
    return check_table(Recipe, bundle.manifest.training.recipe, str(bundle.path))


def rebuilt_family(bundle: Bundle) -> Family:
    """A bundle's networks with its weights, in eval mode."""
    image = bundle.manifest.image
    labels = tuple(bundle.manifest.labels) if bundle.manifest.labels else None
    context = Context(bundle_recipe(bundle), (image.channels, image.height, image.width), labels)
    return averaged_family(context, load_weights(bundle.path / bundle.manifest.weights.path))


def _data(family: Family) -> Dataset | None:
    try:
        return load_dataset(family.context.recipe.data)
    except DataError:
        return None  # golden inputs suffice; only the comparison of pixels from images is left out
