"""ONNX graphs that really hang, fail, or lack memory. Each takes `x` f32 (n, 1) and gives `y` alike."""

from collections.abc import Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from bundle.manifest import GraphSpec, TensorSpec
from service.engine.devices import Device
from service.engine.runtimes.onnx import OnnxRuntime

_HUGE = 2**45  # bytes: more than an address space holds


def endless_loop(path: Path) -> OnnxRuntime:
    """Adds 1 as often as the largest `x` of the batch says: 1e18 takes for ever."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
            helper.make_node("Add", ["value", "step"], ["next"]),
        ],
        "body",
        [_scalar("i", TensorProto.INT64), _scalar("go_on", TensorProto.BOOL), _rows("value")],
        [_scalar("goes_on", TensorProto.BOOL), _rows("next")],
    )
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
        helper.make_node("Cast", ["most"], ["turns"], to=TensorProto.INT64),
        helper.make_node("Loop", ["turns", "", "x"], ["y"], body=body),
    ]
    return _load(path, nodes, [helper.make_tensor("step", TensorProto.FLOAT, [1], [1.0])])


def table_of_four(path: Path) -> OnnxRuntime:
    """Looks row number `x` up in a table of four: others are out of range."""
    nodes = [
        helper.make_node("Cast", ["x"], ["number"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["number", "one"], ["which"]),
        helper.make_node("Gather", ["table", "which"], ["y"], axis=0),
    ]
    table = helper.make_tensor("table", TensorProto.FLOAT, [4, 1], [10.0, 11.0, 12.0, 13.0])
    return _load(path, nodes, [table, helper.make_tensor("one", TensorProto.INT64, [1], [1])])


def memory_for(path: Path, most: int) -> OnnxRuntime:
    """The identity, by way of a tensor that no memory holds if the batch has more than `most` rows."""
    nodes = [
        helper.make_node("Shape", ["x"], ["n"], start=0, end=1),
        helper.make_node("Greater", ["n", "most"], ["too_many"]),
        helper.make_node("Where", ["too_many", "huge", "small"], ["width"]),
        helper.make_node("Concat", ["n", "width"], ["shape"], axis=0),
        helper.make_node("Expand", ["x", "shape"], ["wide"]),
        helper.make_node("ReduceMax", ["wide", "axis"], ["y"], keepdims=1),
    ]
    numbers = {"most": most, "huge": _HUGE // 4, "small": 1, "axis": 1}
    return _load(path, nodes, [helper.make_tensor(key, TensorProto.INT64, [1], [it]) for key, it in numbers.items()])


def _load(path: Path, nodes: Sequence[onnx.NodeProto], constants: Sequence[onnx.TensorProto]) -> OnnxRuntime:
    graph = helper.make_graph(nodes, "fault", [_rows("x")], [_rows("y")], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    tensors = [TensorSpec(name=name, dtype="float32", shape=("n", 1)) for name in ("x", "y")]
    spec = GraphSpec.model_construct(inputs=tensors[:1], outputs=tensors[1:])
    return OnnxRuntime(path, spec, Device("cpu"), 1, False, 16)


def _rows(name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 1])


def _scalar(name: str, kind: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [])
