"""Modules as ONNX: torch's dynamo exporter, then a clean, deterministic, self-contained file."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from training.errors import ExportError
from training.families.base import Graph

ALLOWED_OPERATORS = frozenset(
    [
        "Abs",
        "Add",
        "And",
        "Cast",
        "Clip",
        "Concat",
        "Constant",
        "ConstantOfShape",
        "Conv",
        "ConvTranspose",
        "Div",
        "Equal",
        "Exp",
        "Expand",
        "Flatten",
        "Gather",
        "Gemm",
        "Greater",
        "Identity",
        "LeakyRelu",
        "Less",
        "Log",
        "MatMul",
        "Max",
        "Min",
        "Mul",
        "Neg",
        "Not",
        "OneHot",
        "Or",
        "Pow",
        "Range",
        "ReduceLogSumExp",
        "ReduceMax",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Round",
        "ScatterElements",
        "Shape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "Softplus",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Tanh",
        "Tile",
        "Transpose",
        "Unsqueeze",
        "Where",
    ]
)
EXAMPLE_SIZES = {"n": 2, "k": 3}  # an axis of size 1 would be baked in
_SMALLEST_HALVED = 64  # fewer numbers are not worth a node


def example_inputs(graph: Graph) -> tuple[Tensor, ...]:
    """Inputs of a graph with each free axis at its example size."""
    random = torch.Generator().manual_seed(0)
    inputs = []
    for spec in graph.inputs:
        shape = [EXAMPLE_SIZES[axis] if isinstance(axis, str) else axis for axis in spec.shape]
        floats = spec.dtype == "float32"
        inputs.append(torch.randn(shape, generator=random) if floats else torch.zeros(shape, dtype=torch.int64))
    return tuple(inputs)


def free_axes(graph: Graph) -> tuple[dict[int, object], ...]:
    """For each input, its free axes by position."""
    dims = {name: torch.export.Dim(name) for name in EXAMPLE_SIZES}
    return tuple({i: dims[axis] for i, axis in enumerate(s.shape) if isinstance(axis, str)} for s in graph.inputs)


def to_onnx(module: nn.Module, graph: Graph, half: bool) -> bytes:
    """A module as the bytes of a self-contained ONNX file, the same each time.

    Args:
        module: In eval mode, as `training.export.prepare` leaves it.
        graph: Its interface.
        half: Store weights that float16 holds exactly as float16, with a cast: half the size, the same numbers.

    Raises:
        ExportError: If the graph uses an operator that is not on the list.
    """
    with _quiet():
        program = torch.onnx.export(
            module,
            example_inputs(graph),
            dynamo=True,
            external_data=False,
            dynamic_shapes=free_axes(graph),
            input_names=[spec.name for spec in graph.inputs],
            output_names=[spec.name for spec in graph.outputs],
            verbose=False,
        )
    if program is None:
        raise ExportError("torch.onnx.export gave no program")
    model: onnx.ModelProto = program.model_proto
    _strip(model)
    _check_operators(model)
    if half:
        _halve_weights(model)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _strip(model: onnx.ModelProto) -> None:
    """Remove what is not computation: stack traces with source paths, stale shapes, the producer's notes."""
    graph = model.graph
    for item in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output):
        del item.metadata_props[:]
        item.doc_string = ""
    del graph.value_info[:]
    graph.name = "genserve"


def _check_operators(model: onnx.ModelProto) -> None:
    used = {f"{node.domain}.{node.op_type}" if node.domain else node.op_type for node in model.graph.node}
    unknown = sorted(used - ALLOWED_OPERATORS)
    if unknown or model.functions:
        raise ExportError(
            f"the graph uses {unknown or 'functions'}; allowed are {', '.join(sorted(ALLOWED_OPERATORS))}"
        )


def _halve_weights(model: onnx.ModelProto) -> None:
    casts = []
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALLEST_HALVED:
            continue
        with np.errstate(over="ignore"):
            halved = values.astype(np.float16)
        if not np.array_equal(halved.astype(np.float32), values):
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(halved, f"{name}.half"))
        casts.append(helper.make_node("Cast", [f"{name}.half"], [name], f"cast.{name}", to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's chatter (torchvision is missing, tree specs are deprecated) off the screen."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
