"""The files that a bundle may have or lack: every graph as TorchScript and as a torch.export program."""

import io
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from bundle.golden import Arrays, GoldenCase, check_golden
from bundle.hashing import FileRecord, record
from bundle.manifest import GraphName
from bundle.optional import OptionalFiles, write_optional
from training.data.dataset import Dataset
from training.export.inputs import trial_inputs
from training.export.laws import check_no_paths, run_torch
from training.export.torch_files import load_program, load_torchscript, to_program, to_torchscript
from training.families.base import Family, Graph
from training.onnx_graph import OnnxGraph

_log = logging.getLogger(__name__)
_COMPARED_IMAGES = 64

_FORMATS: dict[str, tuple[Callable[[nn.Module, Graph], bytes], Callable[[io.BytesIO], nn.Module]]] = {
    "pt": (to_torchscript, load_torchscript),
    "pt2": (to_program, load_program),
}


def write_optional_files(
    folder: Path,
    graphs: Mapping[GraphName, Graph],
    modules: Mapping[GraphName, nn.Module],
    golden: Mapping[str, GoldenCase],
    tolerances: Mapping[GraphName, float],
    family: Family,
    dataset: Dataset | None,
) -> OptionalFiles:
    """Write the optional files of all graphs, each read back and held against the golden outputs, and `optional.json`.

    Args:
        folder: Of the bundle, with its ONNX files.
        graphs, modules, golden, tolerances: By graph.
        family, dataset: Where inputs come from to compare pixels with onnxruntime; without data, codes alone.

    Raises:
        DamagedBundleError: If a file, read back, disagrees with the golden outputs.
        ExportError: If a file names a folder of this machine.
    """
    files: dict[str, FileRecord] = {}
    unavailable: dict[str, str] = {}
    differences: dict[str, float] = {}
    for name, graph in graphs.items():
        for suffix, (write, read) in _FORMATS.items():
            file = f"{name}.{suffix}"
            try:
                raw = write(modules[name], graph)
            except Exception as error:
                unavailable[file] = f"{type(error).__name__}: {error}".splitlines()[0][:300]
                _log.warning("%s is unavailable: %s", file, unavailable[file])
                continue
            check_no_paths(file, raw)
            module = read(io.BytesIO(raw))
            found = run_torch(module, graph, dict(golden[name].inputs))
            check_golden(f"{file}: {name}", golden[name].outputs, found, tolerances[name])
            (folder / file).write_bytes(raw)
            files[file] = record(folder, file)
            share = _pixel_difference(folder / f"{name}.onnx", module, graph, family, dataset)
            if share is not None:
                differences[file] = share
    optional = OptionalFiles(
        torch=torch.__version__, files=files, unavailable=unavailable, pixel_difference=differences
    )
    write_optional(folder, optional)
    return optional


def _pixel_difference(
    onnx: Path, module: nn.Module, graph: Graph, family: Family, dataset: Dataset | None
) -> float | None:
    """Share of uint8 values in which a file's images differ from onnxruntime's; None where it draws none."""
    pixels = [spec.name for spec in graph.outputs if spec.dtype == "uint8"]
    if not pixels or (dataset is None and any(spec.name == "image" for spec in graph.inputs)):
        return None
    inputs = trial_inputs(graph, family, dataset, _COMPARED_IMAGES)
    ours: Arrays = run_torch(module, graph, inputs)
    theirs: dict[str, Any] = OnnxGraph(onnx).run(**inputs)
    return float(np.mean([np.mean(ours[name] != theirs[name]) for name in pixels]))
