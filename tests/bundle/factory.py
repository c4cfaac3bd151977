"""The smallest bundles that the store takes: a manifest with made-up bytes for its files. No onnx, no torch."""

from datetime import UTC, datetime
from pathlib import Path

from bundle.hashing import record
from bundle.manifest import DataSource, GraphSpec, ImageSpec, Manifest, TensorSpec, Training
from bundle.priors import Normal
from bundle.store import Bundle, Store

FILES = ("decode.onnx", "weights.safetensors", "golden.npz", "preview.png")


def write_files(folder: Path, content: bytes = b"made up") -> None:
    """Write every file that `manifest` lists, each with other bytes."""
    for name in FILES:
        (folder / name).write_bytes(name.encode() + b" " + content)


def manifest(folder: Path, name: str = "tiny", run: str | None = None) -> Manifest:
    """A manifest for the files that `write_files` left in a folder."""
    return Manifest(
        name=name,
        version=1,
        family="vae",
        created=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        graphs={
            "decode": GraphSpec(
                file=record(folder, "decode.onnx"),
                inputs=[TensorSpec(name="z", dtype="float32", shape=("n", 2))],
                outputs=[TensorSpec(name="image", dtype="float32", shape=("n", 1, 4, 4))],
                tolerance=1e-4,
            )
        },
        image=ImageSpec(channels=1, height=4, width=4),
        prior=Normal(dim=2),
        weights=record(folder, "weights.safetensors"),
        golden=record(folder, "golden.npz"),
        preview=record(folder, "preview.png"),
        data=DataSource(name="noise", sha256="0" * 64, licence="CC0-1.0", attribution="nobody"),
        training=Training(
            recipe={"latent_dim": 2},
            seed=0,
            code_revision="0" * 40,
            steps=1,
            images=1,
            seconds=0.5,
            hardware="none",
            libraries={"numpy": "2"},
            run=run,
        ),
    )


def publish(store: Store, name: str = "tiny", content: bytes = b"made up", run: str | None = None) -> Bundle:
    """Publish the next version of a name."""
    with store.stage(name) as staging:
        write_files(staging.path, content)
        return staging.publish(manifest(staging.path, name, run))
