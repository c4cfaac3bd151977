"""Small ONNX graphs that keep the laws of `bundle`, built by hand: no torch, milliseconds."""

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Array = NDArray[Any]
Kind = Literal["linear", "mlp", "conv"]

_TYPES = {"float32": TensorProto.FLOAT, "int64": TensorProto.INT64, "uint8": TensorProto.UINT8}


@dataclass
class GraphBuilder:
    """Collects nodes and weights; every weight is kept, as a bundle's `weights.safetensors` must have it."""

    name: str
    inputs: list[Any] = field(default_factory=list)
    outputs: list[Any] = field(default_factory=list)
    nodes: list[Any] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    constants: dict[str, Array] = field(default_factory=dict)

    def input(self, name: str, dtype: str, *shape: int) -> str:
        self.inputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], ["n", *shape]))
        return name

    def output(self, name: str, dtype: str, *shape: int) -> None:
        self.outputs.append(helper.make_tensor_value_info(name, _TYPES[dtype], ["n", *shape]))

    def weight(self, name: str, value: Array) -> str:
        self.weights[name] = np.asarray(value, dtype=np.float32)
        return name

    def constant(self, name: str, value: Array | np.generic) -> str:
        self.constants[name] = np.asarray(value)
        return name

    def node(self, op: str, *inputs: str, name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, list(inputs), [name], name=f"{op}_{name}", **attributes))
        return name

    def build(self) -> bytes:
        tensors = [numpy_helper.from_array(v, k) for k, v in (self.weights | self.constants).items()]
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, tensors)
        model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


def decode_graph(
    kind: Kind, latent_dim: int, channels: int, size: int, classes: int, hidden: int, rng: np.random.Generator
) -> GraphBuilder:
    """`z` (and `label` where there are classes) to `image` and `pixels`."""
    graph = GraphBuilder("decode")
    code = graph.input("z", "float32", latent_dim)
    if classes:
        graph.input("label", "int64")
        graph.weight("embedding", rng.normal(size=(classes, latent_dim)))
        graph.node("Gather", "embedding", "label", name="embedded")
        code = graph.node("Add", "z", "embedded", name="code")
    shape = (channels, size, size)
    if kind == "conv":
        _conv_decoder(graph, code, latent_dim, shape, rng)
    else:
        _dense_decoder(graph, code, latent_dim, shape, hidden if kind == "mlp" else 0, rng)
    graph.output("image", "float32", *shape)
    _pixels(graph, shape)
    return graph


def encode_graph(
    latent_dim: int, channels: int, size: int, classes: int, stochastic: bool, projection: Array
) -> GraphBuilder:
    """`image` (and `label` where there are classes) to `mean` (and `logvar` where stochastic); linear."""
    graph = GraphBuilder("encode")
    graph.input("image", "float32", channels, size, size)
    graph.node("Flatten", "image", name="flat", axis=1)
    graph.weight("encode.weight", projection)
    product = graph.node("MatMul", "flat", "encode.weight", name="projected" if classes else "mean")
    if classes:
        graph.input("label", "int64")
        graph.weight("encode.embedding", np.linspace(0, 1, classes * latent_dim).reshape(classes, latent_dim))
        graph.node("Gather", "encode.embedding", "label", name="embedded")
        graph.node("Sub", product, "embedded", name="mean")
    graph.output("mean", "float32", latent_dim)
    if stochastic:
        graph.constant("shift", np.float32(-2.0))
        graph.node("Add", "mean", "shift", name="logvar")
        graph.output("logvar", "float32", latent_dim)
    return graph


def _dense_decoder(
    graph: GraphBuilder, code: str, latent_dim: int, shape: tuple[int, ...], hidden: int, rng: np.random.Generator
) -> None:
    pixels = int(np.prod(shape))
    if hidden:
        graph.weight("hidden.weight", rng.normal(size=(latent_dim, hidden)) / np.sqrt(latent_dim))
        graph.weight("hidden.bias", rng.normal(size=hidden) * 0.1)
        graph.node("Gemm", code, "hidden.weight", "hidden.bias", name="hidden_in")
        code = graph.node("Relu", "hidden_in", name="hidden")
        graph.weight("out.weight", rng.normal(size=(hidden, pixels)) / np.sqrt(hidden))
    else:
        basis = np.linalg.qr(rng.normal(size=(pixels, latent_dim)))[0].T  # orthonormal rows: the encoder inverts them
        graph.weight("out.weight", basis * 0.2 / np.abs(basis).max())
    graph.weight("out.bias", rng.normal(size=pixels) * 0.01 * bool(hidden))
    graph.node("Gemm", code, "out.weight", "out.bias", name="flat")
    graph.constant("shape", np.array([-1, *shape], dtype=np.int64))
    graph.node("Reshape", "flat", "shape", name="unbounded")
    if hidden:
        graph.node("Tanh", "unbounded", name="image")
    else:
        graph.constant("low", np.float32(-1.0))
        graph.constant("high", np.float32(1.0))
        graph.node("Clip", "unbounded", "low", "high", name="image")


def _conv_decoder(
    graph: GraphBuilder, code: str, latent_dim: int, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    channels, size, _ = shape
    width, start = 8, size // 4
    graph.weight("in.weight", rng.normal(size=(latent_dim, width * start * start)) / np.sqrt(latent_dim))
    graph.node("MatMul", code, "in.weight", name="flat")
    graph.constant("shape", np.array([-1, width, start, start], dtype=np.int64))
    graph.node("Reshape", "flat", "shape", name="small")
    strides = {"strides": [2, 2], "pads": [1, 1, 1, 1], "kernel_shape": [4, 4]}
    graph.weight("up1.weight", rng.normal(size=(width, width, 4, 4)) / 6)
    graph.node("ConvTranspose", "small", "up1.weight", name="middle_in", **strides)
    graph.node("Relu", "middle_in", name="middle")
    graph.weight("up2.weight", rng.normal(size=(width, channels, 4, 4)) / 6)
    graph.node("ConvTranspose", "middle", "up2.weight", name="unbounded", **strides)
    graph.node("Tanh", "unbounded", name="image")


def _pixels(graph: GraphBuilder, shape: tuple[int, ...]) -> None:
    channels, height, width = shape
    graph.constant("one", np.float32(1.0))
    graph.constant("half", np.float32(127.5))
    graph.constant("zero", np.float32(0.0))
    graph.constant("most", np.float32(255.0))
    graph.node("Add", "image", "one", name="positive")
    graph.node("Mul", "positive", "half", name="scaled")
    graph.node("Round", "scaled", name="rounded")
    graph.node("Clip", "rounded", "zero", "most", name="clipped")
    graph.node("Cast", "clipped", name="bytes", to=TensorProto.UINT8)
    graph.node("Transpose", "bytes", name="pixels", perm=[0, 2, 3, 1])
    graph.output("pixels", "uint8", height, width, channels)
