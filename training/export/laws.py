"""The laws of graphs: what training promises to whoever runs an exported file."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from training.data.dataset import Dataset
from training.errors import ExportError
from training.export.inputs import Arrays, trial_inputs
from training.families.base import Family, Graph
from training.onnx_graph import OnnxGraph

BATCH_SIZES = (1, 2, 3, 7, 64)
_WORST_DIFFERENCE = 1e-4  # of the largest absolute value in an output, or of 1
_SPARE = 20.0  # another CPU or a GPU sums in another order


@torch.no_grad()
def run_torch(module: nn.Module, graph: Graph, inputs: Arrays) -> dict[str, NDArray[Any]]:
    """Outputs of a module by name."""
    results = module(*(torch.from_numpy(inputs[spec.name]) for spec in graph.inputs))
    results = results if isinstance(results, tuple) else (results,)
    return {spec.name: result.numpy() for spec, result in zip(graph.outputs, results, strict=True)}


def check_laws(name: str, graph: Graph, module: nn.Module, raw: bytes, family: Family, dataset: Dataset) -> float:
    """Check an exported graph against PyTorch and against the laws, at several batch sizes.

    Args:
        name: Of the graph, for errors.
        graph: Its interface.
        module: What it was made from.
        raw: The ONNX file.
        family, dataset: Where inputs come from.

    Returns:
        The tolerance to allow others: well above the largest difference found here.

    Raises:
        ExportError: Which law is broken, and how.
    """
    check_no_paths(f"{name}.onnx", raw)
    session = OnnxGraph(raw)
    worst = max(_check_batch(name, graph, module, session, family, dataset, n) for n in BATCH_SIZES)
    return max(_WORST_DIFFERENCE, _SPARE * worst)


def check_no_paths(name: str, raw: bytes) -> None:
    """No file of a bundle may name a folder of the machine that made it.

    Raises:
        ExportError: Which folder it names.
    """
    for folder in {str(Path.cwd()), str(Path.home()), sys.prefix, str(Path(__file__).parents[2])} - {"/"}:
        if folder.encode() + b"/" in raw:
            raise ExportError(f"{name} holds the path {folder}")


def _check_batch(
    name: str, graph: Graph, module: nn.Module, session: OnnxGraph, family: Family, dataset: Dataset, n: int
) -> float:
    inputs = trial_inputs(graph, family, dataset, n)
    found, expected = session.run(**inputs), run_torch(module, graph, inputs)
    single = session.run(**{key: array[n - 1 :] for key, array in inputs.items()})
    worst = 0.0
    for spec in graph.outputs:
        got, want = found[spec.name], expected[spec.name]
        where = f"graph {name!r}, output {spec.name!r}, batch of {n}"
        fixed = [axis if isinstance(axis, int) else size for axis, size in zip(spec.shape, got.shape, strict=False)]
        if str(got.dtype) != spec.dtype or list(got.shape) != fixed or len(got) != n:
            raise ExportError(f"{where}: {got.dtype}{got.shape}; the interface says {spec.dtype}{spec.shape}")
        if spec.dtype == "uint8":
            continue  # follows from the floats, but for values next to a rounding boundary
        limit = _WORST_DIFFERENCE * max(1.0, float(np.abs(want).max()))
        difference = float(np.abs(got - want).max())
        if not difference <= limit:
            raise ExportError(f"{where}: differs from PyTorch by {difference:.3g}; at most {limit:.3g} is allowed")
        alone = float(np.abs(got[n - 1 :] - single[spec.name]).max())
        if not alone <= limit:
            raise ExportError(f"{where}: its last row differs by {alone:.3g} from the same row run alone")
        if spec.name == "image" and float(np.abs(got).max()) > 1 + limit:
            raise ExportError(f"{where}: reaches {np.abs(got).max():.4g}; images are in [-1, 1]")
        worst = max(worst, difference)
    return worst
