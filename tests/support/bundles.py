"""Tiny valid bundles, published into a store: the real format, made without torch in a few milliseconds.

bundle = publish(tmp_path, "tiny-vae")                          decode and encode, 8×8 grey, normal prior
publish(tmp_path, "tiny-gan", graphs=("decode",), kind="conv")  no encoder
publish(tmp_path, "tiny-ae", prior=None)                        an autoencoder: cannot sample
publish(tmp_path, "tiny-cvae", labels=["cat", "dog"])           class-conditional decode
"""

import io
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from PIL import Image
from safetensors.numpy import save_file

from bundle.golden import GoldenCase, save_golden
from bundle.hashing import record
from bundle.manifest import DataSource, GraphName, GraphSpec, ImageSpec, Latency, Manifest, TensorSpec, Training
from bundle.priors import Normal, Prior
from bundle.store import Bundle, Store
from tests.support.graphs import GraphBuilder, Kind, decode_graph, encode_graph

Array = NDArray[Any]

LATENT_DIM = 4
GOLDEN_ROWS = 3
_DTYPES: dict[int, Literal["float32", "int64", "uint8"]] = {1: "float32", 2: "uint8", 7: "int64"}


def publish(
    root: Path,
    name: str = "tiny",
    *,
    graphs: Sequence[Literal["decode", "encode"]] = ("decode", "encode"),
    kind: Kind = "linear",
    prior: Prior | Literal["normal"] | None = "normal",
    latent_dim: int = LATENT_DIM,
    channels: Literal[1, 3] = 1,
    size: int = 8,
    hidden: int = 16,
    labels: list[str] | None = None,
    label_encode: bool = False,
    stochastic: bool = True,
    seed: int = 0,
    latency: Sequence[tuple[int, float]] = (),
    change_golden: Callable[[dict[str, GoldenCase]], dict[str, GoldenCase]] = lambda cases: cases,
) -> Bundle:
    """Publish the next version of `name` in the store at `root`.

    Args:
        root: Folder of the store.
        name: Name of the model.
        graphs: Which graphs it has.
        kind: Decoder: `linear` (`encode` inverts it), `mlp` (two Gemm) or `conv` (two ConvTranspose).
        prior: `normal` of `latent_dim`, any other prior of that size, or None: an autoencoder.
        latent_dim, channels, size, hidden: Shapes; `size` is height and width, a multiple of 4.
        labels: Names of classes: `decode` takes `label`; `encode` too if `label_encode`.
        stochastic: Whether `encode` gives `logvar`.
        seed: Of the weights: other seeds give other images and another digest.
        latency: (batch, milliseconds) pairs of every graph.
        change_golden: Applied to the golden cases before they are written, to spoil them.
    """
    manifest_prior = Normal(dim=latent_dim) if prior == "normal" else prior
    rng = np.random.default_rng(seed)
    classes = len(labels or ())
    decoder = decode_graph(kind, latent_dim, channels, size, classes, hidden, rng)
    builders: dict[GraphName, GraphBuilder] = {"decode": decoder}
    projection = _projection(decoder, kind, latent_dim, channels * size * size, rng)
    builders["encode"] = encode_graph(
        latent_dim, channels, size, classes if label_encode else 0, stochastic, projection
    )
    builders = {graph: builders[graph] for graph in graphs}
    with Store(root).stage(name) as staging:
        folder = staging.path
        for graph, builder in builders.items():
            (folder / f"{graph}.onnx").write_bytes(builder.build())
        weights = {key: value for builder in builders.values() for key, value in builder.weights.items()}
        save_file({key: np.ascontiguousarray(value) for key, value in weights.items()}, folder / "weights.safetensors")
        cases: dict[str, GoldenCase] = {
            graph: _golden_case(folder / f"{graph}.onnx", classes, rng) for graph in builders
        }
        save_golden(folder / "golden.npz", change_golden(cases))
        (folder / "preview.png").write_bytes(_preview(channels, size, rng))
        return staging.publish(
            Manifest(
                name=name,
                version=1,
                family="vae" if "encode" in graphs else "gan",
                created=datetime(2026, 1, 1, tzinfo=UTC),
                graphs={graph: _graph_spec(folder, graph, latency) for graph in builders},
                image=ImageSpec(channels=channels, height=size, width=size),
                prior=manifest_prior,
                labels=labels,
                weights=record(folder, "weights.safetensors"),
                golden=record(folder, "golden.npz"),
                preview=record(folder, "preview.png"),
                data=DataSource(name="noise", sha256="0" * 64, licence="CC0-1.0", attribution="made by the tests"),
                training=Training(
                    recipe={"seed": seed},
                    seed=seed,
                    code_revision="test",
                    steps=1,
                    images=1,
                    seconds=1.0,
                    hardware="test",
                    libraries={"numpy": np.__version__},
                ),
            )
        )


def images(bundle: Bundle, n: int, seed: int = 0) -> NDArray[np.float32]:
    """Random images (n, c, h, w) in [-1, 1] that fit the bundle."""
    spec = bundle.manifest.image
    rng = np.random.default_rng(seed)
    return rng.uniform(-1, 1, size=(n, spec.channels, spec.height, spec.width)).astype(np.float32)


def reference(bundle: Bundle, graph: GraphName, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Outputs of a graph by onnx's reference implementation: numpy, independent of onnxruntime."""
    return _evaluate(bundle.path / f"{graph}.onnx", inputs)


def spoil(path: Path, *, truncate: bool = False) -> None:
    """Flip a bit in the middle of a file, or cut the file in half."""
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 1
    path.write_bytes(content[:middle] if truncate else content)


def _projection(decoder: GraphBuilder, kind: Kind, latent_dim: int, pixels: int, rng: np.random.Generator) -> Array:
    if kind == "linear":
        return np.asarray(np.linalg.pinv(decoder.weights["out.weight"].astype(np.float64)))
    return np.asarray(rng.normal(size=(pixels, latent_dim)) / np.sqrt(pixels))


def _golden_case(path: Path, classes: int, rng: np.random.Generator) -> GoldenCase:
    inputs: dict[str, Array] = {}
    for spec in _specs(onnx.load(path).graph.input):
        shape = (GOLDEN_ROWS, *(int(axis) for axis in spec.shape[1:]))
        if spec.name == "label":
            inputs[spec.name] = rng.integers(0, classes, size=shape)
        elif spec.name == "image":
            inputs[spec.name] = rng.uniform(-1, 1, size=shape).astype(np.float32)
        else:
            inputs[spec.name] = rng.normal(size=shape).astype(np.float32)
    return GoldenCase(inputs, _evaluate(path, inputs))


def _evaluate(path: Path, inputs: Mapping[str, Array]) -> dict[str, Array]:
    evaluator = ReferenceEvaluator(str(path))
    return dict(zip(evaluator.output_names, evaluator.run(None, dict(inputs)), strict=True))


def _graph_spec(folder: Path, graph: GraphName, latency: Sequence[tuple[int, float]]) -> GraphSpec:
    proto = onnx.load(folder / f"{graph}.onnx").graph
    return GraphSpec(
        file=record(folder, f"{graph}.onnx"),
        inputs=_specs(proto.input),
        outputs=_specs(proto.output),
        tolerance=1e-4,
        latency=[Latency(batch=batch, milliseconds=milliseconds) for batch, milliseconds in latency],
    )


def _specs(values: Sequence[Any]) -> list[TensorSpec]:
    return [
        TensorSpec(
            name=value.name,
            dtype=_DTYPES[value.type.tensor_type.elem_type],
            shape=tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim),
        )
        for value in values
    ]


def _preview(channels: int, size: int, rng: np.random.Generator) -> bytes:
    pixels = rng.integers(0, 256, size=(size, size, channels), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze() if channels == 1 else pixels).save(file, "PNG")
    return file.getvalue()
