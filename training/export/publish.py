"""From a trained state to a published bundle: export, check the laws, measure, publish."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from bundle.golden import GoldenCase, save_golden
from bundle.hashing import record
from bundle.manifest import DataSource, GraphName, GraphSpec, ImageSpec, Manifest, Metric, Parent, Training
from bundle.store import Bundle, Staging, Store
from training.averaged import averaged_family
from training.data.dataset import Dataset
from training.errors import ExportError
from training.export.inputs import trial_inputs
from training.export.latency import measure_latency
from training.export.laws import check_laws, run_torch
from training.export.onnx_file import to_onnx
from training.export.optional import write_optional_files
from training.export.prepare import prepared, round_to_half
from training.export.preview import COLUMNS, preview
from training.families.base import Context, Family, Graph
from training.onnx_graph import OnnxGraph
from training.pictures import save_grid
from training.provenance import code_revision, hardware, libraries
from training.recipe import resolved

_log = logging.getLogger(__name__)
WEIGHTS, GOLDEN, PREVIEW = "weights.safetensors", "golden.npz", "preview.png"
_GOLDEN_ROWS = 3

Measure = Callable[[dict[str, OnnxGraph], Family], list[Metric]]


@dataclass(frozen=True)
class Run:
    """What a run leaves behind; `id` is what the manifest calls it, None if it has no name."""

    state: dict[str, Tensor]
    rounds: int
    seconds: float
    id: str | None = None


def publish(
    context: Context, run: Run, dataset: Dataset, store: Store, measure: Measure, parent: Parent | None = None
) -> Bundle:
    """Make a bundle of a run's averaged weights and publish it as the next version.

    Args:
        context: What the family was built for.
        run: Averaged state and cost.
        dataset: What it was trained on.
        store: Where to publish.
        measure: Exported graphs and family → metrics of the manifest.
        parent: The bundle whose frozen networks this one uses.

    Raises:
        ExportError: If a graph breaks a law.
        BundleError: If the store refuses.
    """
    recipe = context.recipe
    state = {name: value.clone() for name, value in run.state.items()}
    if recipe.export.storage == "float16":
        round_to_half(state)
    family = averaged_family(context, state)
    family.fit(dataset)
    with store.stage(recipe.name) as staging:
        specs, sessions = _write_graphs(staging, family, dataset)
        _write_weights(staging.path / WEIGHTS, state, recipe.export.storage == "float16")
        save_grid(staging.path / PREVIEW, preview(sessions, family, dataset), COLUMNS)
        manifest = Manifest(
            name=recipe.name,
            version=1,
            family=recipe.family,
            created=datetime.now(UTC).replace(microsecond=0),
            graphs=specs,
            image=_image_spec(context),
            prior=family.prior,
            labels=list(family.label_names) if family.label_names else None,
            weights=record(staging.path, WEIGHTS),
            golden=record(staging.path, GOLDEN),
            preview=record(staging.path, PREVIEW),
            data=_data_source(dataset),
            training=_training(context, run),
            metrics=measure(sessions, family),
            parent=parent,
        )
        return staging.publish(manifest)


def _write_graphs(
    staging: Staging, family: Family, dataset: Dataset
) -> tuple[dict[GraphName, GraphSpec], dict[str, OnnxGraph]]:
    export = family.context.recipe.export
    graphs = family.graphs()
    _check_prior(family, graphs)
    modules: dict[GraphName, nn.Module] = {}
    golden: dict[str, GoldenCase] = {}
    specs: dict[GraphName, GraphSpec] = {}
    sessions: dict[str, OnnxGraph] = {}
    for name, graph in graphs.items():
        _log.info("exporting %s", name)
        modules[name] = prepared(graph, export)
        raw = to_onnx(modules[name], graph, export.storage == "float16")
        tolerance = check_laws(name, graph, modules[name], raw, family, dataset)
        inputs = trial_inputs(graph, family, dataset, _GOLDEN_ROWS)
        golden[name] = GoldenCase(inputs, run_torch(modules[name], graph, inputs))
        (staging.path / f"{name}.onnx").write_bytes(raw)
        specs[name] = _graph_spec(staging.path, name, graph, tolerance, raw, family, dataset)
        sessions[name] = OnnxGraph(raw)
    save_golden(staging.path / GOLDEN, golden)
    tolerances = {name: spec.tolerance for name, spec in specs.items()}
    write_optional_files(staging.path, graphs, modules, golden, tolerances, family, dataset)
    return specs, sessions


def _check_prior(family: Family, graphs: Mapping[GraphName, Graph]) -> None:
    """What the prior draws must be what `decode` takes, `codes` behind `z`."""
    if family.prior is None or "decode" not in graphs:
        return
    taken = sum(int(s.shape[1]) for s in graphs["decode"].inputs if s.name in ("z", "codes"))
    if taken != family.prior.dim:
        raise ExportError(f"the prior draws {family.prior.dim} numbers for an image; decode takes {taken}")


def _graph_spec(
    folder: Path, name: str, graph: Graph, tolerance: float, raw: bytes, family: Family, dataset: Dataset
) -> GraphSpec:
    return GraphSpec(
        file=record(folder, f"{name}.onnx"),
        inputs=list(graph.inputs),
        outputs=list(graph.outputs),
        tolerance=tolerance,
        likelihood=graph.likelihood,
        latency=measure_latency(graph, raw, family, dataset),
    )


def _write_weights(path: Path, state: dict[str, Tensor], half: bool) -> None:
    """Weights as safetensors; in float16 only where that loses nothing, which `round_to_half` has seen to."""
    stored = {
        name: (value.half() if half and value.is_floating_point() else value).contiguous()
        for name, value in state.items()
    }
    path.write_bytes(safetensors.torch.save(stored))  # save_file would make it readable by its owner alone


def load_weights(path: Path) -> dict[str, Tensor]:
    """Weights of a bundle by name, floats as float32."""
    state = safetensors.torch.load_file(path)
    return {name: value.to(torch.float32) if value.is_floating_point() else value for name, value in state.items()}


def _image_spec(context: Context) -> ImageSpec:
    channels, height, width = context.image
    return ImageSpec.model_validate({"channels": channels, "height": height, "width": width})


def _data_source(dataset: Dataset) -> DataSource:
    return DataSource(
        name=dataset.name, sha256=dataset.sha256, licence=dataset.licence, attribution=dataset.attribution
    )


def _training(context: Context, run: Run) -> Training:
    recipe = context.recipe
    return Training(
        recipe=resolved(recipe),
        seed=recipe.seed,
        code_revision=code_revision(),
        steps=run.rounds,
        images=run.rounds * recipe.train.batch_size,
        seconds=round(run.seconds, 1),
        hardware=hardware(recipe.train.threads),
        libraries=libraries(),
        run=run.id,
    )
